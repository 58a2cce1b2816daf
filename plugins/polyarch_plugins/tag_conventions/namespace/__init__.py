"""One namespace an architecture: `arm32v7/alpine` beside `alpine`."""
