"""What a deployed function needs from Google and from the web framework, in one place.

Each module imports only its own service, so that a function that needs Firestore alone does not pay
for Storage at its cold start.
"""
