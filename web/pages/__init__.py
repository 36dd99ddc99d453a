"""The pages: one module per page with its form, its view and its fragments; plain HTML first, htmx on top."""
