"""The app at the root, the admin and the demo's orders beside it."""

from django.contrib import admin
from django.templatetags.static import static
from django.urls import include, path
from django.views.generic import RedirectView

from . import views

urlpatterns = [
    # the admin's pages name no icon, so browsers ask for this one
    path("favicon.ico", RedirectView.as_view(url=static("openrouter_app/img/icon.svg"))),
    path("admin/", admin.site.urls),
    path("orders/", views.orders, name="orders"),
    path("", include("openrouter_app.urls")),
]
