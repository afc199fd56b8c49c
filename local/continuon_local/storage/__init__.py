"""Cloud Storage: the JSON and XML APIs, signed URLs and resumable sessions, on files and SQLite."""
