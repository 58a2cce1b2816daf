"""One repository an architecture: `user/app-armhf`, `user/aarch64-app`, `user/app/aarch64` beside `user/app`."""
