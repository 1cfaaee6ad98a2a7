from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rom_builder.errors import ImageError
from rom_builder.formats.edify import parse_edify
from rom_builder.formats.updater_script import (
    MAX_CALLS,
    MAX_LINKS,
    MAX_PATHS,
    Permissions,
    UpdaterScript,
    parse_updater_script,
)
from rom_builder.formats.updater_script_files import NewFile, with_files

OLD = b"""\
assert(getprop("ro.product.device") == "tulip" ||
       getprop("ro.build.product") == "tulip");
mount("ext4", "EMMC", "/dev/block/mmcblk0p3", "/data");
show_progress(0.500000, 0);
vendor_flash_info(android, 0, 0);
format("ext4", "EMMC", "/dev/block/mmcblk0p6", "0", "/system");
mount("ext4", "EMMC", "/dev/block/mmcblk0p6", "/system");
assert(package_extract_dir("recovery", "/system"));
assert(package_extract_dir("system", "/system"));
symlink("mksh", "/system/bin/sh");
symlink("toolbox", "/system/bin/cat",
        "/system/bin/chmod");
symlink("/data/app_libs", "/system/lib/apps");
symlink("/system/vendor", "/system/oem");
set_perm_recursive(0, 0, 0755, 0644, "/system");
set_perm_recursive(0, 2000, 0755, 0755, "/system/bin"); # tools
set_perm(0, 3003, 02750, "/system/bin/netcfg");
set_perm_recursive(0, 2000, 0755, 0644, "/system/oem/lib");
set_perm(0, 1000, 0640, "/system/bin/sh");
assert(package_extract_file("boot.img", "/cache/boot.img"),
       write_raw_image("/cache/boot.img", "bootimg"),
       delete("/cache/boot.img"));
assert(run_program("/system/bin/dd", "if=/dev/zero", "of=/proc/driver/x", "count=1"));
assert(package_extract_dir("data", "/data"));
set_perm_recursive(1000, 1000, 0755, 0644, "/data/vendor/apps");
package_extract_file("META-INF/com/vendor/relink", "/data/local/tmp/relink");
set_perm(0, 0, 0555, "/data/local/tmp/relink");
run_program("/data/local/tmp/relink");
delete("/data/local/tmp/relink");
delete_recursive("/data/vendor/preinstall");
unmount("/data");
unmount("/system");
"""

NEW = b"""\
ifelse(is_mounted("/system"), unmount("/system"));
mount("ext4", "EMMC", "/dev/block/by-name/system", "/system");
package_extract_dir("system", "/system");
symlink("busybox", "/system/xbin/ls");
symlink("../bin/su", "/system/xbin/su");
set_metadata_recursive("/system", "uid", 0, "gid", 0, "dmode", 0755, "fmode", 0644, \
"capabilities", 0x0, "selabel", "u:object_r:system_file:s0");
set_metadata_recursive("/system/bin", "uid", 0, "gid", 2000, "dmode", 0755, "fmode", 0755);
set_metadata("/system/bin/run-as", "uid", 0, "gid", 2000, "mode", 0750, "capabilities", 0xc0, \
"selabel", "u:object_r:runas_exec:s0");
set_metadata_recursive("/system/xbin", "gid", 1234);
unmount("/system");
"""


def old() -> UpdaterScript:
    return parse_updater_script(OLD)


def new() -> UpdaterScript:
    return parse_updater_script(NEW)


def added(before: bytes, after: bytes) -> list[str]:
    """The added lines; everything else must be as it was."""
    lines = after.split(b"\n")
    found = []
    for line in before.split(b"\n"):
        while lines[0] != line:
            found.append(lines.pop(0).decode())
        lines.pop(0)
    assert not lines
    return found


def line_before(script: bytes, line: str) -> str:
    lines = script.decode().split("\n")
    return lines[lines.index(line) - 1]


def test_what_the_script_does() -> None:
    script = old()
    assert script.style == "set_perm"
    assert script.mounts == {"/data": "/dev/block/mmcblk0p3", "/system": "/dev/block/mmcblk0p6"}
    assert script.formats == ("/dev/block/mmcblk0p6",)
    assert script.deletes == (
        "/cache/boot.img",
        "/data/local/tmp/relink",
        "/data/vendor/preinstall",
    )
    assert script.links["/system/bin/chmod"] == "toolbox"
    assert script.resolve("/system/oem/lib/x") == "/system/vendor/lib/x"
    assert script.resolve("/system/bin/sh") == "/system/bin/mksh"
    assert new().style == "set_metadata"
    assert parse_updater_script(b"").style is None


def test_where_entries_go() -> None:
    script = old()
    assert script.extracted("system/app/X.apk") == ("/system/app/X.apk",)
    assert script.extracted("boot.img") == ("/cache/boot.img",)
    assert script.extracted("other/x") == ()
    assert script.zip_path_for("/system/app/X.apk") == "system/app/X.apk"
    assert script.zip_path_for("/system/oem/x") == "system/vendor/x"
    assert script.zip_path_for("/cache/boot.img") == "boot.img"
    assert script.zip_path_for("/sdcard/x") is None


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/system/app/X.apk", Permissions(0, 0, 0o644)),
        ("/system/bin/new", Permissions(0, 2000, 0o755)),
        ("/system/bin/netcfg", Permissions(0, 3003, 0o2750)),
        ("/system/bin/mksh", Permissions(0, 1000, 0o640)),
        ("/system/bin/sh", Permissions(0, 1000, 0o640)),
        ("/system/vendor/lib/x.so", Permissions(0, 2000, 0o644)),
        ("/data/app/x", Permissions()),
    ],
)
def test_permissions_after_all_calls(path: str, expected: Permissions) -> None:
    assert old().permissions(path) == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/system/a", Permissions(0, 0, 0o644, "u:object_r:system_file:s0", 0)),
        ("/system/bin/x", Permissions(0, 2000, 0o755, "u:object_r:system_file:s0", 0)),
        ("/system/bin/su", Permissions(0, 1234, 0o755, "u:object_r:system_file:s0", 0)),
        ("/system/bin/run-as", Permissions(0, 2000, 0o750, "u:object_r:runas_exec:s0", 0xC0)),
    ],
)
def test_metadata_reaches_link_targets(path: str, expected: Permissions) -> None:
    assert new().permissions(path) == expected


def test_folders_have_their_own_mode() -> None:
    assert old().permissions("/system/etc", directory=True).mode == 0o755
    assert new().permissions("/system/etc", directory=True).mode == 0o755


@pytest.mark.parametrize(
    "call",
    [
        'set_perm(0, getprop("gid"), 0644, "/system/a")',
        'set_perm(0, 0, "rw", "/system/a")',
        'set_perm(0, 0, 0644, getprop("path"))',
        'is_mounted("/x") && set_perm(0, 0, 0644, "/system/a")',
        'set_metadata("/system/a", "uid")',
        'set_metadata("/system/a", "uid", "root")',
        'set_metadata("/system/a", "mode", "0o644")',
    ],
)
def test_permissions_are_never_guessed(call: str) -> None:
    script = parse_updater_script(call.encode())
    with pytest.raises(ImageError) as caught:
        script.permissions("/system/a")
    assert caught.value.offset is not None


def test_links_that_are_removed_again() -> None:
    script = parse_updater_script(
        b'symlink("a", "/d/1", "/d/2", "/e/3"); delete("/d/1"); delete_recursive("/e");'
        b'symlink("b", "/e/4");'
    )
    assert script.links == {"/d/2": "a", "/e/4": "b"}


def test_links_in_a_circle_lead_nowhere() -> None:
    script = parse_updater_script(b'symlink("b", "/a"); symlink("a", "/b");')
    with pytest.raises(ImageError):
        script.resolve("/a/x")
    with pytest.raises(ImageError):
        script.permissions("relative")


def test_a_new_file_gets_a_line_of_its_own_even_with_the_folders_permissions() -> None:
    file = NewFile("system/etc/x.xml", "/system/etc/x.xml")
    assert with_files(old(), [file]).count(b'set_perm(0, 0, 0644, "/system/etc/x.xml");') == 1
    labelled = NewFile("system/etc/x.xml", "/system/etc/x.xml", label="u:object_r:system_file:s0")
    added = with_files(new(), [labelled])
    assert added.count(b'"/system/etc/x.xml", "uid", 0, "gid", 0, "mode", 0644') == 1


@pytest.mark.parametrize(
    ("file", "line", "behind"),
    [
        (
            NewFile("system/etc/x", "/system/etc/x", 0, 1000, 0o640),
            'set_perm(0, 1000, 0640, "/system/etc/x");',
            'set_perm_recursive(0, 0, 0755, 0644, "/system");',
        ),
        (
            NewFile("system/bin/x", "/system/bin/x"),
            'set_perm(0, 0, 0644, "/system/bin/x");',
            'set_perm_recursive(0, 2000, 0755, 0755, "/system/bin"); # tools',
        ),
        (
            NewFile("data/app/x.apk", "/data/app/x.apk", 1000, 1000),
            'set_perm(1000, 1000, 0644, "/data/app/x.apk");',
            'assert(package_extract_dir("data", "/data"));',
        ),
    ],
)
def test_a_permission_line_goes_behind_the_last_call_that_matters(
    file: NewFile, line: str, behind: str
) -> None:
    edited = with_files(old(), [file])
    assert added(OLD, edited) == [line]
    assert line_before(edited, line) == behind
    found = parse_updater_script(edited).permissions(file.device_path)
    assert (found.uid, found.gid, found.mode) == (file.uid, file.gid, file.mode)


def test_metadata_style_and_capabilities() -> None:
    file = NewFile("system/bin/x", "/system/bin/x", 0, 2000, 0o750, "u:object_r:x_exec:s0")
    edited = with_files(new(), [file])
    line = (
        'set_metadata("/system/bin/x", "uid", 0, "gid", 2000, "mode", 0750, "capabilities", 0x0,'
        ' "selabel", "u:object_r:x_exec:s0");'
    )
    assert added(NEW, edited) == [line]
    assert parse_updater_script(edited).permissions("/system/bin/x") == Permissions(
        0, 2000, 0o750, "u:object_r:x_exec:s0", 0
    )


def test_a_file_nothing_unpacks_gets_its_own_extraction() -> None:
    file = NewFile("rom-builder/x.xml", "/system/x.xml")
    edited = with_files(old(), [file])
    assert added(OLD, edited) == [
        'package_extract_file("rom-builder/x.xml", "/system/x.xml");',
        'set_perm(0, 0, 0644, "/system/x.xml");',
    ]
    assert with_files(parse_updater_script(edited), [file]) == edited


def test_several_files_and_twice_the_same() -> None:
    files = [
        NewFile("system/etc/a", "/system/etc/a", 0, 0, 0o600),
        NewFile("system/etc/b", "/system/etc/b", 0, 0, 0o600),
        NewFile("data/c", "/data/c", 1000, 1000),
    ]
    edited = with_files(old(), files)
    assert len(added(OLD, edited)) == 3
    assert with_files(parse_updater_script(edited), files) == edited
    assert with_files(parse_updater_script(edited), files[:1]) == edited


def test_names_are_quoted() -> None:
    file = NewFile('system/a "b"\\c', '/system/a "b"\\c', mode=0o600)
    edited = with_files(old(), [file])
    assert parse_updater_script(edited).permissions(file.device_path).mode == 0o600


def test_a_last_statement_without_semicolon_and_other_line_ends() -> None:
    script = b'package_extract_dir("s", "/s");\r\nset_perm_recursive(0, 0, 0755, 0644, "/s") # end'
    edited = with_files(parse_updater_script(script), [NewFile("s/a", "/s/a", mode=0o600)])
    assert edited == (
        b'package_extract_dir("s", "/s");\r\nset_perm_recursive(0, 0, 0755, 0644, "/s");\r\n'
        b'set_perm(0, 0, 0600, "/s/a"); # end'
    )
    one_line = b'package_extract_dir("s", "/s"); set_perm(0, 0, 0, "/s/b"); unmount("/s");'
    edited = with_files(parse_updater_script(one_line), [NewFile("s/a", "/s/a", mode=0o600)])
    assert edited == one_line.replace(b'"/s");', b'"/s");\nset_perm(0, 0, 0600, "/s/a");', 1)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (NewFile("system/bin/sh", "/system/bin/sh"), "is a link to mksh"),
        (NewFile("system/oem/x", "/system/oem/x"), "is a link to /system/vendor"),
        (NewFile("system/bin", "/system/bin"), "below it"),
        (NewFile("data/vendor/preinstall/x", "/data/vendor/preinstall/x"), "delete_recursive"),
        (NewFile("data/local/tmp/relink", "/data/local/tmp/relink"), "may overwrite"),
        (NewFile("system/x", "/data/x"), "unpacks system/x to /system/x"),
        (NewFile("other/x", "/system/new/x"), "folder /system/new"),
        (NewFile("recovery/x", "/system/x"), "may overwrite it with an entry of system"),
        (NewFile("system/x", "/system/../x"), "not a plain path"),
        (NewFile("system/x", "system/x"), "not a plain path"),
        (NewFile("../x", "/system/x"), "not a plain path"),
        (NewFile("/system/x", "/system/x"), "not a plain path"),
        (NewFile("system/x", "/system/x", mode=0o10000), "not possible"),
        (NewFile("system/x", "/system/x", uid=-1), "not possible"),
        (NewFile("system/x\n", "/system/x\n"), "cannot be written"),
        (NewFile("system/x", "/system/x", label="u:object_r:x:s0"), "cannot set an SELinux label"),
    ],
)
def test_what_would_not_last_is_refused(file: NewFile, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        with_files(old(), [file])


def test_a_link_on_the_way_is_reported_with_the_real_path() -> None:
    with pytest.raises(ImageError) as caught:
        with_files(old(), [NewFile("system/oem/lib/x", "/system/oem/lib/x")])
    assert caught.value.hint == "install it at its real path /system/vendor/lib/x"
    assert caught.value.offset == OLD.index(b'symlink("/system/vendor"')


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('delete("/system/etc/x");', "deletes it"),
        ('delete(getprop("x"));', "depends on the phone"),
        ('is_mounted("/a") && delete("/system/etc/x");', "deletes it"),
        ('delete_recursive("/system/etc");', "removes"),
        ('rename("/system/etc", "/system/e");', "removes"),
        ('format("ext4", "EMMC", "/dev/block/mmcblk0p6", "0", "/system");', "overwrites"),
        ('format("ext4", "EMMC", "/dev/block/mmcblk0p6");', "overwrites"),
        ('write_raw_image("/tmp/x", "/dev/block/mmcblk0p6");', "overwrites"),
        ('block_image_update("/dev/block/mmcblk0p6", a, b, c);', "overwrites"),
        ('mount("ext4", "EMMC", "/dev/block/mmcblk0p9", "/system");', "mounts another"),
        ('package_extract_file("other", "/system/etc/x");', "may overwrite"),
        ('package_extract_dir("more", "/system/etc");', "may overwrite"),
        ('apply_patch("/system/etc/x", "-", sha, 1, sha, p);', "patches"),
        ('run_program("/sbin/busybox", "rm", "-rf", "/system/etc");', "runs run_program"),
        ('run_program("/sbin/sh", "-c", "chmod 0 /system/etc/*");', "runs run_program"),
        ('run_program("/sbin/sh", getprop("x"));', "runs run_program"),
        ('vendor_wipe("/system");', "runs vendor_wipe"),
    ],
)
def test_a_later_step_that_undoes_the_file(line: str, message: str) -> None:
    script = OLD.replace(b'unmount("/data");', line.encode() + b'\nunmount("/data");')
    file = NewFile("system/etc/x", "/system/etc/x", 0, 0, 0o600)
    with pytest.raises(ImageError, match=message) as caught:
        with_files(parse_updater_script(script), [file])
    assert caught.value.hint


@pytest.mark.parametrize(
    "line",
    [
        'delete("/system/etc");',
        'delete_recursive("/system/etc/xy", "/cache");',
        'format("ext4", "EMMC", "/dev/block/mmcblk0p7", "0", "/cache");',
        'write_raw_image("/tmp/x", "bootimg");',
        'package_extract_file("other");',
        'package_extract_dir("cust", "/cust");',
        'run_program("/system/bin/x", "a");',
        'run_program("/sbin/busybox", "umount", "/system");',
        'ui_print("/system");',
    ],
)
def test_a_later_step_that_does_not_touch_the_file(line: str) -> None:
    script = OLD.replace(b'unmount("/data");', line.encode() + b'\nunmount("/data");')
    file = NewFile("system/etc/x", "/system/etc/x", 0, 0, 0o600)
    assert len(added(script, with_files(parse_updater_script(script), [file]))) == 1


def test_permissions_that_depend_on_the_phone_are_settled_behind_them() -> None:
    line = b'is_mounted("/x") && set_perm_recursive(0, 0, 0700, 0600, "/system");\n'
    script = OLD.replace(b"assert(package_extract_file", line + b"assert(package_extract_file")
    edited = with_files(parse_updater_script(script), [NewFile("system/x", "/system/x")])
    (made,) = added(script, edited)
    assert line_before(edited, made) == line.decode().strip()


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (b'package_extract_dir("s", "/s");', "sets no permissions"),
        (
            b'if a then package_extract_dir("s", "/s"); endif; set_perm(0, 0, 0, "/s");',
            "depends on the phone",
        ),
        (
            b'mount(a, b, c, "/s"); assert(package_extract_dir("s", "/s"), unmount("/s"));'
            b'set_perm(0, 0, 0, "/t");',
            "is unmounted",
        ),
        (
            b'package_extract_dir("s", "/s"); unmount("/s");set_perm_recursive(0, 0, 0, 0, "/s");',
            "is unmounted",
        ),
    ],
)
def test_no_safe_place_no_edit(script: bytes, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        with_files(parse_updater_script(script), [NewFile("s/a", "/s/a", mode=0o600)])


def test_the_same_path_twice_is_refused() -> None:
    with pytest.raises(ImageError, match="twice"):
        with_files(old(), [NewFile("system/a", "/system/a"), NewFile("system/b", "/system/a")])


@pytest.mark.parametrize(
    "script",
    [
        b"f();" * (MAX_CALLS + 1),
        b'symlink("a"' + b"".join(b", /%d" % i for i in range(MAX_LINKS + 1)) + b");",
        b"delete(a" + b", a" * MAX_PATHS + b");",
        b'symlink(getprop("a"), "/b");',
        b'symlink("a", getprop("b"));',
    ],
)
def test_limits(script: bytes) -> None:
    with pytest.raises(ImageError) as caught:
        parse_updater_script(script)
    assert caught.value.offset is not None


NAMES = st.from_regex(r"\A[a-z]{1,6}(\.[a-z]{1,3})?\Z")
FILES = st.builds(
    lambda folder, name, uid, mode: NewFile(
        f"{folder}/{name}.new", f"/{folder}/{name}.new", uid, uid, mode
    ),
    st.sampled_from(
        ["system", "system/etc", "system/bin", "system/x/y", "data", "data/vendor/apps"]
    ),
    NAMES,
    st.sampled_from([0, 1000, 2000]),
    st.sampled_from([0o644, 0o755, 0o600]),
)


@settings(deadline=None)
@given(st.lists(FILES, max_size=4, unique_by=lambda file: file.device_path))
def test_any_new_files_are_installed_rightly(files: list[NewFile]) -> None:
    edited = with_files(old(), files)
    script = parse_updater_script(edited)
    for file in files:
        found = script.permissions(file.device_path)
        assert (found.uid, found.gid, found.mode) == (file.uid, file.gid, file.mode)
        assert file.device_path in script.extracted(file.zip_path)
    assert with_files(script, files) == edited
    assert len(added(OLD, edited)) <= len(files)
    assert [item.name for item in script.steps if item.name != "set_perm"] == [
        item.name for item in old().steps if item.name != "set_perm"
    ]


STATEMENTS = [OLD[item.start : item.end] for item in parse_edify(OLD)]
STATEMENTS += [NEW[item.start : item.end] for item in parse_edify(NEW)]


@settings(deadline=None)
@given(st.lists(st.sampled_from(STATEMENTS), max_size=12), FILES)
def test_any_order_of_statements_is_edited_rightly_or_refused(
    parts: list[bytes], file: NewFile
) -> None:
    script = parse_updater_script(b"\n".join(parts))
    try:
        edited = with_files(script, [file])
    except ImageError:
        return
    again = parse_updater_script(edited)
    found = again.permissions(file.device_path)
    assert (found.uid, found.gid, found.mode) == (file.uid, file.gid, file.mode)
    assert file.device_path in again.extracted(file.zip_path)
    assert with_files(again, [file]) == edited


@settings(deadline=None)
@given(st.integers(0, len(OLD)), st.binary(max_size=3), st.integers(0, 40), FILES)
def test_only_image_errors_escape(at: int, noise: bytes, cut: int, file: NewFile) -> None:
    damaged = OLD[:at] + noise + OLD[at + cut :]
    try:
        with_files(parse_updater_script(damaged), [file])
    except ImageError:
        return
