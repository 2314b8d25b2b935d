"""AesExpert (Huang et al. 2024): human feedback -> instruction data -> a tuned model -> critique and chat -> AesBench; and a critique that is measured."""
