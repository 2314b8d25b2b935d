"""AesMMIT: human feedback on images, and the instruction data that is made of it (AesExpert, section 3). No torch."""
