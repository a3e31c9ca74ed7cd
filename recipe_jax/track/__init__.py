"""Where else a finished run is told: one file a service."""
