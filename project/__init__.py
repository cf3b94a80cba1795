"""The demo site: shows the app, and what a host project writes to have it."""
