urlpatterns: list[object] = []
"""A site without the app's addresses."""
