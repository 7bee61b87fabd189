"""The foot of every page: its link, its figures, its tables, and what gives the same without the dashboard."""
