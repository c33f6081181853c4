"""The requests of bench/server as a FastAPI service: pydantic models, SQLAlchemy's async sessions, the token check of FastAPI's tutorial.

The tutorial also looks the user up; that look-up is left out, so the service has a query less than it would have.
"""
import os
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

import jwt
from fastapi import Depends, FastAPI, HTTPException, status
from fastapi.security import OAuth2PasswordBearer
from jwt.exceptions import InvalidTokenError
from pydantic import BaseModel, ConfigDict
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from database import Widget, WidgetVersion, session
from ids import new_id

SECRET_KEY = os.environ["JWT_SECRET"]
ALGORITHM = "HS256"

app = FastAPI()
oauth2_scheme = OAuth2PasswordBearer(tokenUrl="token")
Session = Annotated[AsyncSession, Depends(session)]


class NewWidget(BaseModel):
    model_config = ConfigDict(extra="forbid")

    owner_id: str
    name: str
    color: str
    size: int
    weight: float


class WidgetPublic(NewWidget):
    model_config = ConfigDict(from_attributes=True)

    id: UUID
    created_at: datetime
    updated_at: datetime


async def get_current_user(token: Annotated[str, Depends(oauth2_scheme)]) -> str:
    refused = HTTPException(status.HTTP_401_UNAUTHORIZED, "Could not validate credentials", {"WWW-Authenticate": "Bearer"})
    try:
        username = jwt.decode(token, SECRET_KEY, algorithms=[ALGORITHM]).get("sub")
    except InvalidTokenError:
        raise refused from None
    if username is None:
        raise refused
    return username


CurrentUser = Annotated[str, Depends(get_current_user)]


@app.get("/w/{widget_id}", response_model=WidgetPublic)
async def read(_: CurrentUser, session: Session, widget_id: UUID):
    widget = await session.get(Widget, widget_id)
    if widget is None or widget.deleted_at is not None:
        raise HTTPException(status.HTTP_404_NOT_FOUND, "Widget not found")
    return widget


@app.get("/w", response_model=list[WidgetPublic])
async def read_all(_: CurrentUser, session: Session, owner_id: str):
    theirs = select(Widget).where(Widget.owner_id == owner_id, Widget.deleted_at.is_(None)).order_by(Widget.id).limit(100)
    return (await session.scalars(theirs)).all()


@app.post("/w", response_model=WidgetPublic, status_code=status.HTTP_201_CREATED)
async def create(_: CurrentUser, session: Session, new: NewWidget):
    now = datetime.now(UTC)
    widget = Widget(id=new_id(), created_at=now, updated_at=now, deleted_at=None, **new.model_dump())
    data = WidgetPublic.model_validate(widget).model_dump(mode="json")
    session.add_all([widget, WidgetVersion(widget_id=widget.id, version=1, operation="created", data=data, recorded_at=now)])
    await session.commit()
    return widget
