"""Training of the small networks of the sensor stage, see ``train/sensor.py``."""
