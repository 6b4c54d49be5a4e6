"""Systems that are more than a denoising loop: cases whose designs are compared, and tables of what each one shows."""
