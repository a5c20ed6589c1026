"""Every address of the product: nouns, verbs last."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

from editor.views import account, activity, canvas, drive_arrays, drives, infrastructures, instance_arrays, networks

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="infrastructures"), name="home"),
    path("sign-in/", account.sign_in, name="sign-in"),
    path("sign-out/", account.sign_out, name="sign-out"),
    # /infrastructures/
    path("infrastructures/", infrastructures.index, name="infrastructures"),
    path("infrastructures/<int:pk>/", canvas.page, name="infrastructure"),
    path("infrastructures/<int:pk>/nodes/", canvas.nodes, name="infrastructure_nodes"),
    path("infrastructures/<int:pk>/wiring/", canvas.wiring, name="infrastructure_wiring"),
    path("infrastructures/<int:pk>/status/", canvas.status, name="infrastructure_status"),
    path("infrastructures/<int:pk>/tidy/", canvas.tidy, name="infrastructure_tidy"),
    path("infrastructures/<int:pk>/activity/", activity.of_infrastructure, name="infrastructure_activity"),
    # /instance-arrays/
    path("instance-arrays/<int:pk>/", instance_arrays.overview, name="instance_array"),
    path("instance-arrays/<int:pk>/instances/", instance_arrays.instances, name="instance_array_instances"),
    path("instance-arrays/<int:pk>/networks/", instance_arrays.networks, name="instance_array_networks"),
    path("instance-arrays/<int:pk>/activity/", activity.of_instance_array, name="instance_array_activity"),
    path("instance-arrays/<int:pk>/power/", instance_arrays.power, name="instance_array_power"),
    path("instance-arrays/<int:pk>/card/", canvas.instance_array_card, name="instance_array_card"),
    path("instance-arrays/<int:pk>/move/", canvas.move_instance_array, name="instance_array_move"),
    # /drive-arrays/
    path("drive-arrays/<int:pk>/", drive_arrays.overview, name="drive_array"),
    path("drive-arrays/<int:pk>/drives/", drive_arrays.drives, name="drive_array_drives"),
    path("drive-arrays/<int:pk>/activity/", activity.of_drive_array, name="drive_array_activity"),
    path("drive-arrays/<int:pk>/card/", canvas.drive_array_card, name="drive_array_card"),
    path("drive-arrays/<int:pk>/move/", canvas.move_drive_array, name="drive_array_move"),
    # /drives/
    path("drives/<int:pk>/", drives.overview, name="drive"),
    path("drives/<int:pk>/activity/", activity.of_drive, name="drive_activity"),
    path("drives/<int:pk>/dismiss/", drives.dismiss, name="drive_dismiss"),
    # /networks/
    path("networks/<int:pk>/", networks.overview, name="network"),
    path("networks/<int:pk>/card/", canvas.network_card, name="network_card"),
    path("networks/<int:pk>/move/", canvas.move_network, name="network_move"),
    path("", include("snapshots.urls")),
    path("admin/", admin.site.urls),
]

handler403 = "editor.views.errors.forbidden"
handler404 = "editor.views.errors.not_found"
handler500 = "editor.views.errors.server_error"
