"""The layouts of the data sets: from the files of a folder to labelled videos.

One person has one name in all sets of one maker: FaceForensics++ `ff183`, its actors `dfd06`, Celeb-DF `cdf32` (or
`cdfyt00170`), DFDC `dfdc_<folder>`; names from folders or CSV files are prefixed with the set's name.
"""
