"""Edits of ext4 images in place: blocks and inodes are taken from and given back to the bitmaps.

Content is never written over that of another file: what an edit frees is what no other inode uses,
told by the block maps of all inodes and not by the bitmaps, so images with ``shared_blocks`` are
safe. A replaced file keeps its inode unless other names lead to it, which then keep the old
content. A full image grows: first its last group, then by new groups.
"""

from __future__ import annotations

from collections.abc import Iterable

from rom_builder.errors import ImageError
from rom_builder.formats.edit_check import Expected, check_edit
from rom_builder.formats.ext4.editor import Editor
from rom_builder.formats.ext4.superblock import Superblock
from rom_builder.formats.ext4.tree import Ext4, open_ext4
from rom_builder.formats.folder_edit import (
    Attributes,
    FolderEdit,
    TreeIndex,
    arrange,
    attributes_of,
    file_attributes,
    folder_attributes,
    removed_below,
    replaced_files,
)
from rom_builder.formats.image_draft import Draft
from rom_builder.formats.image_edit import (
    FileChange,
    ImagePlan,
    LabelOf,
    check_limit,
    refuse_footer,
)
from rom_builder.formats.source import Source
from rom_builder.formats.tree import NodeKind

# Features under which every structure that an edit writes is known; others refuse the image.
_EDITABLE = frozenset(
    {
        *("dir_prealloc", "has_journal", "ext_attr", "resize_inode", "dir_index", "sparse_super2"),
        *("fast_commit", "stable_inodes", "orphan_file", "filetype", "extent", "64bit", "flex_bg"),
        *("ea_inode", "metadata_csum_seed", "inline_data", "sparse_super", "large_file"),
        *("huge_file", "uninit_bg", "dir_nlink", "extra_isize", "metadata_csum", "shared_blocks"),
    }
)
_MAX_BLOCK_SIZE = 32768  # larger ones store the size of folder entries otherwise


def plan_edits(
    image: Source,
    changes: Iterable[FileChange],
    *,
    label_of: LabelOf | None = None,
    wipe: bool = False,
    size_limit: int | None = None,
) -> ImagePlan:
    """Return the bytes that make changes to the files of an ext4 image.

    The image's names, attributes and block maps are read before and, as it will be, after; nothing
    is written.

    Args:
        image: The file system without hashtree and footer.
        changes: Each path once, in any order.
        label_of: Knows the SELinux labels of new files and folders.
        wipe: Zero the freed blocks of removed and replaced files that are not used again.
        size_limit: Bytes that the image may have afterwards.

    Raises:
        ImageError: The image is damaged or of a kind that is not edited, or a change cannot be made
            safely.
        ValueError: A path is named twice.
    """
    refuse_footer(image)
    tree = open_ext4(image)
    _refuse_unsafe(tree.superblock)
    index = TreeIndex(tree)
    _refuse_disagreement(tree)
    edits = arrange(index, changes)
    if not edits:
        return Draft(image, tree.superblock.block_size).plan()
    removed = [node for edit in edits for node in removed_below(index, edit)]
    editor = Editor(
        image,
        tree.superblock,
        index.nodes.values(),
        removed=removed,
        replaced=replaced_files(index, edits),
        links=index.links,
    )
    files, folders = _carry_out(editor, index, edits, label_of)
    remains = editor.finish(wipe=wipe)
    check_limit(editor.draft.size, size_limit)
    plan = editor.draft.plan(remains)
    after = open_ext4(plan.apply(image))
    check_edit(index, after, Expected(files, folders, frozenset(n.path for n in removed)))
    _refuse_disagreement(after)
    return plan


def _refuse_unsafe(superblock: Superblock) -> None:
    """Refuse an image that holds something an edit could break."""
    features = set(superblock.features)
    if "needs_recovery" in features:
        raise ImageError(
            "the journal holds changes that are not in the image yet",
            hint="let e2fsck replay it first",
        )
    if "extent" not in features:
        raise ImageError("only images with extents can be edited", hint="this one is ext2 or ext3")
    if unknown := sorted(features - _EDITABLE):
        raise ImageError(f"images with {', '.join(unknown)} cannot be edited")
    if superblock.has_errors or not superblock.clean:
        raise ImageError(
            "the file system is marked as damaged or in use", hint="let e2fsck check it first"
        )
    block_size, per_group = superblock.block_size, superblock.blocks_per_group
    if block_size > _MAX_BLOCK_SIZE:
        raise ImageError(f"images with blocks of {block_size} bytes cannot be edited")
    if (
        per_group % 8
        or not 8 <= per_group <= 8 * block_size
        or superblock.first_data_block != (block_size == 1024)
        or superblock.inodes_per_group % 8
    ):
        raise ImageError(f"block groups of {per_group} blocks cannot be edited")


def _refuse_disagreement(tree: Ext4) -> None:
    """Refuse an image whose names and bitmaps disagree."""
    if problems := tree.check_complete():
        raise ImageError(
            f"the image is not sound: {problems[0].reason}", hint="let e2fsck check it first"
        )


def _carry_out(
    editor: Editor, index: TreeIndex, edits: list[FolderEdit], label_of: LabelOf | None
) -> tuple[dict[str, tuple[Attributes, Source]], dict[str, Attributes]]:
    """Make the changes, folders before what they hold.

    Returns:
        Attributes and content of the files put, attributes of the folders made, by path.
    """
    files: dict[str, tuple[Attributes, Source]] = {}
    made: dict[str, Attributes] = {}
    numbers: dict[str, int] = {}
    for edit in edits:
        node = edit.old or index.root
        above = made[edit.path] if edit.old is None else attributes_of(node)
        folder = editor.folder(numbers[edit.path] if edit.old is None else node.inode or 0)
        for name, gone in edit.removed.items():
            folder.remove(name, is_folder=gone.kind is NodeKind.FOLDER)
        for name, new in edit.folders.items():
            made[new.path] = attributes = folder_attributes(new.path, above, label_of)
            numbers[new.path] = editor.make_folder(folder, name, attributes)
        for name, change in edit.files.items():
            attributes = file_attributes(index, change, above, label_of)
            files[change.path] = attributes, change.content
            editor.put_file(folder, name, index.get(change.path), attributes, change.content)
        editor.store_folder(folder)
    return files, made
