"""What the Python tests share; each module says what it owns."""
