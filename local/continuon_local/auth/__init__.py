"""Firebase Authentication (Identity Toolkit and Secure Token REST calls), on SQLite."""
