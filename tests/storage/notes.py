"""A table to write into: the markers, which have no rules but a name of their own."""

from __future__ import annotations

from sqlalchemy import bindparam, delete, insert, select, update

from ostiary.storage.database import Database
from ostiary.storage.statements import Query, Statement
from ostiary.storage.tables import markers

add = Statement(insert(markers).values(name=bindparam("name"), value=bindparam("value"), created_at=bindparam("at")))
claim = Statement(
    lambda insert_or: (
        insert_or(markers)
        .values(name=bindparam("name"), value=bindparam("value"), created_at=bindparam("at"))
        .on_conflict_do_nothing(index_elements=["name"])
    ),
)
change = Statement(update(markers).where(markers.c.name == bindparam("b_name")).values(value=bindparam("value")))
count = Query(
    int,
    update(markers)
    .where(markers.c.name == bindparam("b_name"))
    .values(created_at=markers.c.created_at + 1)
    .returning(markers.c.created_at),
)
remove = Statement(delete(markers).where(markers.c.name == bindparam("b_name")))
find = Query(str, select(markers.c.value).where(markers.c.name == bindparam("name")))
counted = Query(int, select(markers.c.created_at).where(markers.c.name == bindparam("name")))
names = Query(str, select(markers.c.name).order_by(markers.c.name))


async def kept(database: Database) -> list[str]:
    """The names that are there for everybody."""
    return await database.unit().all(names)


async def keep(database: Database, name: str, value: str = "") -> None:
    """Write one in a unit of its own."""
    unit = database.unit()
    await unit.run(add, name=name, value=value, at=0)
    await unit.commit()
