"""What the dashboards are generated from."""
