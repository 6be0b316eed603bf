"""Read the layouts of public data sets without opening a video."""
