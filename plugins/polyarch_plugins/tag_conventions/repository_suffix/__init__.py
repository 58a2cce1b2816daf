"""One repository an architecture: `user/app-armhf` beside `user/app`."""
