"""Every address of the product: nouns, verbs last."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

from editor.views import (
    account,
    activity,
    canvas,
    configure,
    connect,
    deploy,
    design,
    draft,
    drive_arrays,
    drives,
    infrastructures,
    instance_arrays,
    iscsi,
    networks,
    removing,
    rename,
    review,
    settings,
)

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="infrastructures"), name="home"),
    path("sign-in/", account.sign_in, name="sign-in"),
    path("sign-out/", account.sign_out, name="sign-out"),
    # /infrastructures/
    path("infrastructures/", infrastructures.index, name="infrastructures"),
    path("infrastructures/new/", settings.new, name="infrastructure_new"),
    path("infrastructures/<int:pk>/", canvas.page, name="infrastructure"),
    path("infrastructures/<int:pk>/nodes/", canvas.nodes, name="infrastructure_nodes"),
    path("infrastructures/<int:pk>/wiring/", canvas.wiring, name="infrastructure_wiring"),
    path("infrastructures/<int:pk>/status/", canvas.status, name="infrastructure_status"),
    path("infrastructures/<int:pk>/presence/", canvas.presence, name="infrastructure_presence"),
    path("infrastructures/<int:pk>/move/", canvas.move_many, name="infrastructure_move"),
    path("infrastructures/<int:pk>/targets/", connect.targets, name="infrastructure_targets"),
    path("infrastructures/<int:pk>/connect/", connect.dialog, name="infrastructure_connect"),
    path("infrastructures/<int:pk>/tidy/", canvas.tidy, name="infrastructure_tidy"),
    path("infrastructures/<int:pk>/activity/", activity.of_infrastructure, name="infrastructure_activity"),
    path("infrastructures/<int:pk>/settings/", settings.settings, name="infrastructure_settings"),
    path("infrastructures/<int:pk>/delete/", settings.delete, name="infrastructure_delete"),
    path("infrastructures/<int:pk>/draft/", draft.fragment, name="infrastructure_draft"),
    path("infrastructures/<int:pk>/add/instance-array/", design.add_instance_array, name="add_instance_array"),
    path("infrastructures/<int:pk>/add/drive-array/", design.add_drive_array, name="add_drive_array"),
    path("infrastructures/<int:pk>/add/network/", design.add_network, name="add_network"),
    path("infrastructures/<int:pk>/copy/", design.copy, name="infrastructure_copy"),
    path("infrastructures/<int:pk>/undo/", design.undo, name="infrastructure_undo"),
    path("infrastructures/<int:pk>/redo/", design.redo, name="infrastructure_redo"),
    path("infrastructures/<int:pk>/discard/", removing.discard_all, name="infrastructure_discard"),
    path("infrastructures/<int:pk>/delete-selected/", removing.delete_selected, name="infrastructure_delete_selected"),
    path("infrastructures/<int:pk>/deploy/", review.of_infrastructure, name="infrastructure_deploy"),
    path("infrastructures/<int:pk>/deploys/", deploy.history, name="infrastructure_deploys"),
    # /deploys/
    path("deploys/<int:pk>/", deploy.progress, name="deploy"),
    # /instance-arrays/
    path("instance-arrays/<int:pk>/", instance_arrays.overview, name="instance_array"),
    path("instance-arrays/<int:pk>/instances/", instance_arrays.instances, name="instance_array_instances"),
    path("instance-arrays/<int:pk>/networks/", instance_arrays.networks, name="instance_array_networks"),
    path("instance-arrays/<int:pk>/activity/", activity.of_instance_array, name="instance_array_activity"),
    path("instance-arrays/<int:pk>/look/", instance_arrays.look, name="instance_array_look"),
    path("instance-arrays/<int:pk>/power/", instance_arrays.power, name="instance_array_power"),
    path("instance-arrays/<int:pk>/configure/", configure.instance_array, name="instance_array_configure"),
    path("instance-arrays/<int:pk>/delete/", removing.delete_instance_array, name="instance_array_delete"),
    path("instance-arrays/<int:pk>/discard/", removing.discard_instance_array, name="instance_array_discard"),
    path("instance-arrays/<int:pk>/card/", canvas.instance_array_card, name="instance_array_card"),
    path("instance-arrays/<int:pk>/rename/", rename.instance_array, name="instance_array_rename"),
    path("instance-arrays/<int:pk>/connect/", connect.connect, name="instance_array_connect"),
    path("instance-arrays/<int:pk>/move/", canvas.move_instance_array, name="instance_array_move"),
    # /drive-arrays/
    path("drive-arrays/<int:pk>/", drive_arrays.overview, name="drive_array"),
    path("drive-arrays/<int:pk>/drives/", drive_arrays.drives, name="drive_array_drives"),
    path("drive-arrays/<int:pk>/activity/", activity.of_drive_array, name="drive_array_activity"),
    path("drive-arrays/<int:pk>/configure/", configure.drive_array, name="drive_array_configure"),
    path("drive-arrays/<int:pk>/delete/", removing.delete_drive_array, name="drive_array_delete"),
    path("drive-arrays/<int:pk>/discard/", removing.discard_drive_array, name="drive_array_discard"),
    path("drive-arrays/<int:pk>/card/", canvas.drive_array_card, name="drive_array_card"),
    path("drive-arrays/<int:pk>/rename/", rename.drive_array, name="drive_array_rename"),
    path("drive-arrays/<int:pk>/attach/", connect.attach, name="drive_array_attach"),
    path("drive-arrays/<int:pk>/move/", canvas.move_drive_array, name="drive_array_move"),
    # /drives/
    path("drives/<int:pk>/", drives.overview, name="drive"),
    path("drives/<int:pk>/activity/", activity.of_drive, name="drive_activity"),
    path("drives/<int:pk>/iscsi/", iscsi.tab, name="drive_iscsi"),
    path("drives/<int:pk>/iscsi/password/", iscsi.password, name="drive_chap_password"),
    path("drives/<int:pk>/dismiss/", drives.dismiss, name="drive_dismiss"),
    # /networks/
    path("networks/<int:pk>/", networks.overview, name="network"),
    path("networks/<int:pk>/configure/", configure.network, name="network_configure"),
    path("networks/<int:pk>/delete/", removing.delete_network, name="network_delete"),
    path("networks/<int:pk>/discard/", removing.discard_network, name="network_discard"),
    path("networks/<int:pk>/card/", canvas.network_card, name="network_card"),
    path("networks/<int:pk>/rename/", rename.network, name="network_rename"),
    path("networks/<int:pk>/move/", canvas.move_network, name="network_move"),
    path("", include("snapshots.urls")),
    path("admin/", admin.site.urls),
]

handler400 = "editor.views.errors.unreadable"
handler403 = "editor.views.errors.forbidden"
handler404 = "editor.views.errors.not_found"
handler500 = "editor.views.errors.server_error"
