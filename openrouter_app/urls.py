"""The pages. Mount them with ``path("", include("openrouter_app.urls"))``, at any prefix."""

from django.urls import path

from . import health, views

app_name = "openrouter_app"
urlpatterns = [
    path("", views.index, name="index"),
    path("chains/<slug:slug>/", views.chain, name="chain"),
    path("health/", health.health, name="health"),
]
