"""`polyarch.lock`: what each image name stands for, held fast; and the files that name images. Knows no network."""
