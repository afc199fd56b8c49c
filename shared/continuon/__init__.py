"""The small library every function, the relay and the robot client share."""
