"""The app at the root, the admin beside it."""

from django.contrib import admin
from django.templatetags.static import static
from django.urls import include, path
from django.views.generic import RedirectView

urlpatterns = [
    # the admin's pages name no icon, so browsers ask for this one
    path("favicon.ico", RedirectView.as_view(url=static("openrouter_app/img/icon.svg"))),
    path("admin/", admin.site.urls),
    path("", include("openrouter_app.urls")),
]
