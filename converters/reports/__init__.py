"""What all reports share: tables in HTML, phases and their times."""
