"""The numbered steps that bring the file's schema up to date; a step that was released is never changed."""
