"""AesBench (Huang et al. 2024): read, asked, scored and compared with the published tables. Importing this imports no torch."""
