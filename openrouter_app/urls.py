"""The pages. Mount them with ``path("", include("openrouter_app.urls"))``, at any prefix.

Ids are read by the views, not by the patterns: what is no id is answered like one of somebody else's.
"""

from django.urls import path

from . import health, views

app_name = "openrouter_app"
urlpatterns = [
    path("", views.index, name="index"),
    path("chains/<slug:slug>/", views.chain, name="chain"),
    path("chains/<slug:slug>/chat/", views.chat, name="chat"),
    path("chains/<slug:slug>/send/", views.send, name="send"),
    path("conversations/", views.conversations, name="conversations"),
    path("conversations/data/", views.conversation_list, name="conversation-list"),
    path("conversations/<str:conversation>/", views.conversation, name="conversation"),
    path("conversations/<str:conversation>/data/", views.conversation_data, name="conversation-data"),
    path("conversations/<str:conversation>/rename/", views.conversation_rename, name="conversation-rename"),
    path("conversations/<str:conversation>/delete/", views.conversation_delete, name="conversation-delete"),
    path("conversations/<str:conversation>/head/", views.conversation_head, name="conversation-head"),
    path("conversations/<str:conversation>/export.json", views.export_json, name="conversation-export-json"),
    path("conversations/<str:conversation>/export.md", views.export_markdown, name="conversation-export-md"),
    path("runs/<str:run>/decide/", views.decide, name="decide"),
    path("account/", views.account, name="account"),
    path("account/connect/", views.connect, name="connect"),
    path("account/callback/<str:nonce>/", views.callback, name="callback"),
    path("account/replace/", views.replace, name="replace"),
    path("account/refresh/", views.refresh, name="refresh"),
    path("account/paste/", views.paste, name="paste"),
    path("account/disconnect/", views.disconnect, name="disconnect"),
    path("health/", health.health, name="health"),
]
