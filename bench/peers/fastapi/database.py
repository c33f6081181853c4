"""The tables as SQLAlchemy's declarative models, and a session for each request, as FastAPI's documentation has it."""
import os
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import JSON, DateTime, event
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

url = os.environ["DATABASE_URL"]
is_sqlite = url.startswith("sqlite")
engine = create_async_engine(url, pool_size=int(os.environ.get("POOL_SIZE", "5")), max_overflow=0, pool_timeout=60)
new_session = async_sessionmaker(engine, expire_on_commit=False)


if is_sqlite:

    @event.listens_for(engine.sync_engine, "connect")
    def on_connect(connection, _):
        # What the kernel sets too; with SQLite's defaults, readers and writers would wait for each other.
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=30000"):
            connection.execute(f"PRAGMA {pragma}").close()


async def session():
    async with new_session() as session:
        yield session


class Base(DeclarativeBase):
    type_annotation_map = {datetime: DateTime(timezone=True), dict[str, Any]: JSON}


class Widget(Base):
    __tablename__ = "widgets"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    owner_id: Mapped[str] = mapped_column(index=True)
    name: Mapped[str]
    color: Mapped[str]
    size: Mapped[int]
    weight: Mapped[float]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    deleted_at: Mapped[datetime | None]


class WidgetVersion(Base):
    __tablename__ = "widget_versions"

    id: Mapped[int] = mapped_column(primary_key=True)
    widget_id: Mapped[UUID] = mapped_column(index=True)
    version: Mapped[int]
    operation: Mapped[str]
    data: Mapped[dict[str, Any]]
    recorded_at: Mapped[datetime]
