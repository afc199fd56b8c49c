"""Robot and notebook client of Continuon Cloud."""
