"""Records become one page that can be sent round: text, tables and figures in a single HTML file."""
