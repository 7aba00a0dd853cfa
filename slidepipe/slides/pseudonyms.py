"""Names that slides go by in all results, where their files' names must not get out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from slidepipe.errors import CohortError
from slidepipe.slides.names import check_slide_id


def pseudonyms_of(names: Iterable[str], slide_ids: Mapping[str, str]) -> dict[str, str]:
    """Look up the pseudonym of every slide.

    Parameters
    ----------
    names
        Slides by the names of their files, without suffix.
    slide_ids
        Pseudonym by name; the case of names does not count. Entries for other slides are allowed, so that one list
        serves several studies.

    Returns
    -------
    dict
        Pseudonym of each of `names`.

    Raises
    ------
    CohortError
        If a slide has no pseudonym, two have the same (case does not count), a pseudonym cannot name a file, or
        the list names a slide twice.
    """
    by_name: dict[str, str] = {}
    for name, pseudonym in slide_ids.items():
        if by_name.setdefault(name.casefold(), pseudonym) is not pseudonym:
            raise CohortError(
                f"slides.slide_ids names the slide {name} twice (case does not count): keep one entry"
            )
    found = {name: by_name.get(name.casefold(), "") for name in names}
    unnamed = [name for name, pseudonym in found.items() if not pseudonym]
    if unnamed:
        raise CohortError(
            f"slides.slide_ids has no name for {len(unnamed)} of {len(found)} slides, the first is {unnamed[0]}: name "
            "all of them, or leave them out with slides.only, so that no file's name gets into the results"
        )
    owners: dict[str, str] = {}
    for name, pseudonym in found.items():
        check_slide_id(pseudonym)
        owner = owners.setdefault(pseudonym.casefold(), name)
        if owner != name:
            raise CohortError(
                f"slides.slide_ids calls both {owner} and {name} {pseudonym}: names must differ"
            )
    return found
