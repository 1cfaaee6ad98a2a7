"""Permissions for personal data that Android asks its user for, and what each opens.

From the permission groups of AOSP's ``frameworks/base/core/res/AndroidManifest.xml``, protection level
``dangerous``.
"""

from __future__ import annotations

RUNTIME_SINCE = 23
"""API level of platforms, and of what apps are made for, from which users are asked while an app runs."""

_GROUPS = {
    "contacts": ("READ_CONTACTS", "WRITE_CONTACTS", "GET_ACCOUNTS"),
    "messages": (
        *("READ_SMS", "SEND_SMS", "RECEIVE_SMS", "RECEIVE_MMS", "RECEIVE_WAP_PUSH"),
        "READ_CELL_BROADCASTS",
    ),
    "phone numbers": ("READ_PHONE_NUMBERS",),
    "phone state": ("READ_PHONE_STATE",),
    "calls": (
        *("CALL_PHONE", "ANSWER_PHONE_CALLS", "PROCESS_OUTGOING_CALLS", "USE_SIP"),
        *("READ_CALL_LOG", "WRITE_CALL_LOG", "ACCEPT_HANDOVER"),
    ),
    "location": (
        *("ACCESS_FINE_LOCATION", "ACCESS_COARSE_LOCATION", "ACCESS_BACKGROUND_LOCATION"),
        *("ACCESS_MEDIA_LOCATION",),
    ),
    "calendar": ("READ_CALENDAR", "WRITE_CALENDAR"),
    "camera": ("CAMERA",),
    "microphone": ("RECORD_AUDIO",),
    "files": (
        *("READ_EXTERNAL_STORAGE", "WRITE_EXTERNAL_STORAGE"),
        *("READ_MEDIA_IMAGES", "READ_MEDIA_VIDEO", "READ_MEDIA_AUDIO"),
    ),
    "sensors": ("BODY_SENSORS", "BODY_SENSORS_BACKGROUND", "ACTIVITY_RECOGNITION"),
}

SENSITIVE = {
    **{f"android.permission.{name}": what for what, names in _GROUPS.items() for name in names},
    "com.android.voicemail.permission.ADD_VOICEMAIL": "calls",
}
"""What each permission opens, in one or two words."""
