"""Request bodies that the tests vary, and strategies that make them."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import strategies as st

from cloudrec_gateway.api.models import CreateCloudRecordingRequest, Request
from cloudrec_gateway.api.parse import parse
from cloudrec_gateway.errors import ApiFault

Body = dict[str, Any]
Json = Any

USER_SIG = "eJwtzUserSigOfTheRobot"
ACCESS_KEY = "AKIAcanaryAccessKey"
SECRET_KEY = "canarySecretKey+/0123456789"
PRIVATE_MAP_KEY = "eJwtzPrivateMapKey"
SECRETS = (USER_SIG, ACCESS_KEY, SECRET_KEY, PRIVATE_MAP_KEY)

CREATE: Body = {
    "SdkAppId": 1400000001,
    "RoomId": "12345",
    "UserId": "recorder_12345",
    "UserSig": USER_SIG,
    "PrivateMapKey": PRIVATE_MAP_KEY,
    "RecordParams": {"RecordMode": 1},
    "StorageParams": {
        "CloudStorage": {
            "Vendor": 1,
            "Region": "us-east-1",
            "Bucket": "recordings",
            "AccessKey": ACCESS_KEY,
            "SecretKey": SECRET_KEY,
        }
    },
}
MODIFY: Body = {"SdkAppId": 1400000001, "TaskId": "0b9d2c4e-0000-4000-8000-000000000001"}
VOD: Body = {"CloudVod": {"TencentVod": {}}}
VOD_FULL: Body = {
    "Procedure": "LongVideoPreset",
    "ExpireTime": 86400,
    "StorageRegion": "ap-guangzhou",
    "ClassId": 7,
    "SubAppId": 1500000001,
    "SessionContext": "session 教室",
    "SourceContext": "source",
    "UserDefineRecordId": "lesson_5-a",
}
WINDOW: Body = {"Top": 0, "Left": 0, "Width": 180, "Height": 320}
VIDEO: Body = {"Width": 1280, "Height": 720, "Fps": 15, "BitRate": 550000, "Gop": 10}
AUDIO: Body = {"SampleRate": 1, "Channel": 2, "BitRate": 64000}
LAYOUT: Body = {"MixLayoutMode": 3}


def given_at(body: Body, path: str, value: Json) -> Body:
    """A copy with `value` at the dotted path; blocks on the way are made."""
    changed = copy.deepcopy(body)
    *parents, last = path.split(".")
    here: Any = changed
    for part in parents:
        here = here[int(part)] if isinstance(here, list) else here.setdefault(part, {})
    here[int(last) if isinstance(here, list) else last] = value
    return changed


def without(body: Body, path: str) -> Body:
    changed = copy.deepcopy(body)
    *parents, last = path.split(".")
    here: Any = changed
    for part in parents:
        here = here[part]
    del here[last]
    return changed


def merged(document: Any, patch: Any) -> Any:
    """RFC 7396, section 2."""
    if not isinstance(patch, dict):
        return patch
    result = dict(document) if isinstance(document, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


def create(path: str = "SdkAppId", value: Json = 1400000001) -> CreateCloudRecordingRequest:
    """The sample with one change, parsed."""
    return parse(CreateCloudRecordingRequest, given_at(CREATE, path, value))


def refused(body: Body, model: type[Request] = CreateCloudRecordingRequest) -> ApiFault:
    """Why it is refused; without a secret in it."""
    with pytest.raises(ApiFault) as caught:
        parse(model, body)
    fault = caught.value
    assert not any(secret in str(fault) for secret in SECRETS)
    assert fault.__cause__ is None
    return fault


# --- strategies -----------------------------------------------------------------------------------------------------


def _block(required: dict[str, st.SearchStrategy[Any]], optional: dict[str, st.SearchStrategy[Any]]) -> Any:
    """With each optional member given, null or left out."""
    return st.fixed_dictionaries(required, optional={name: st.none() | value for name, value in optional.items()})


def _ascii(characters: str, least: int, most: int) -> st.SearchStrategy[str]:
    return st.text(characters, min_size=least, max_size=most)


_LOWER = "abcdefghijklmnopqrstuvwxyz0123456789"
_WORD = _LOWER + _LOWER[:26].upper() + "_-"
_VISIBLE = "".join(map(chr, range(33, 127)))
FLAG = st.integers(0, 1)
user_ids = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=128) | st.just("class1.*$")
lists = st.lists(user_ids, max_size=32)
colours = st.from_regex(r"#[0-9A-Fa-f]{6}", fullmatch=True)
urls = st.from_regex(r"https?://[a-z]{1,9}(\.[a-z]{2,3})?(:[1-9][0-9]{2})?/[a-z/]{0,9}\.(png|jpg|jpeg)", fullmatch=True)
side = st.integers(0, 160)

subscriptions = _block({}, {"SubscribeAudioUserIds": lists, "UnSubscribeVideoUserIds": lists}) | _block(
    {}, {"UnSubscribeAudioUserIds": lists, "SubscribeVideoUserIds": lists}
)
record_params = _block(
    {"RecordMode": st.just(1) | st.integers(1, 2)},
    {
        "MaxIdleTime": st.integers(5, 86400),
        "StreamType": st.integers(0, 2),
        "SubscribeStreamUserIds": subscriptions,
        "OutputFormat": st.integers(0, 4),
        "AvMerge": FLAG,
        "MaxMediaFileDuration": st.integers(1, 1440),
        "MediaId": st.integers(0, 2),
        "FillType": FLAG,
        "SubscribeAbility": FLAG,
    },
)
cloud_storage = _block(
    {
        "Vendor": FLAG,
        "Region": _ascii(_LOWER + "-", 1, 64),
        "Bucket": st.from_regex(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", fullmatch=True),
        "AccessKey": _ascii(_VISIBLE, 1, 80),
        "SecretKey": _ascii(_VISIBLE, 1, 80),
    },
    {"FileNamePrefix": st.lists(_ascii(_WORD, 1, 40), max_size=16)},
)
vod = _block(
    {},
    {
        "Procedure": st.text("abc", max_size=9),
        "ExpireTime": st.integers(0, 3_155_760_000),
        "StorageRegion": st.text("abc", max_size=9),
        "ClassId": st.integers(0, 2**31),
        "SubAppId": st.integers(0, 2**31),
        "SessionContext": st.text("abc", max_size=9),
        "SourceContext": st.text("abc", max_size=9),
        "MediaType": st.sampled_from([0, 1, 3]),
        "UserDefineRecordId": _ascii(_WORD, 1, 64),
    },
)
storage_params = st.fixed_dictionaries({"CloudStorage": cloud_storage}) | st.fixed_dictionaries(
    {"CloudVod": st.fixed_dictionaries({"TencentVod": vod})}
)
transcode_params = _block(
    {},
    {
        "VideoParams": st.fixed_dictionaries(
            {
                "Width": st.integers(320, 1080),
                "Height": st.integers(320, 1080),
                "Fps": st.integers(1, 60),
                "BitRate": st.integers(64000, 8192000),
                "Gop": st.integers(1, 60),
            }
        ),
        "AudioParams": st.fixed_dictionaries(
            {"SampleRate": st.integers(1, 3), "Channel": st.integers(1, 2), "BitRate": st.integers(32000, 128000)}
        ),
    },
)
_place = {"Top": side, "Left": side, "Width": side, "Height": side}
windows = _block(
    _place,
    {
        "UserId": user_ids,
        "Alpha": st.integers(0, 255),
        "RenderMode": st.integers(0, 3),
        "MediaId": FLAG,
        "ImageLayer": st.integers(-9, 99),
        "SubBackgroundImage": urls,
    },
)
_fonts = st.sampled_from(["Tencent", "SourceHanSans"])
watermarks = st.one_of(
    _block({"WaterMarkImage": st.fixed_dictionaries({"WaterMarkUrl": urls, **_place})}, {"WaterMarkType": st.just(0)}),
    st.fixed_dictionaries(
        {
            "WaterMarkType": st.just(1),
            "WaterMarkChar": _block(
                {**_place, "Chars": st.text("字a ", min_size=1)},
                {
                    "FontSize": st.integers(1, 99),
                    "FontColor": colours,
                    "BackGroundColor": st.just("") | colours,
                    "Font": _fonts,
                },
            ),
        }
    ),
    st.fixed_dictionaries(
        {
            "WaterMarkType": st.just(2),
            "WaterMarkTimestamp": _block(
                {"Pos": st.integers(0, 6)}, {"TimeZone": st.integers(-12, 14), "Font": _fonts}
            ),
        }
    ),
)
layouts = _block(
    {"MixLayoutMode": st.integers(1, 4), "MixLayoutList": st.lists(windows, min_size=1, max_size=3)},
    {
        "BackGroundColor": colours,
        "MaxResolutionUserId": user_ids,
        "MediaId": FLAG,
        "BackgroundImageUrl": urls,
        "PlaceHolderMode": FLAG,
        "BackgroundImageRenderMode": st.integers(0, 3),
        "DefaultSubBackgroundImage": urls,
        "WaterMarkList": st.lists(watermarks, max_size=3),
        "RenderMode": st.integers(0, 3),
        "MaxResolutionUserAlign": FLAG,
        "PureAudioDisableLayout": st.booleans(),
    },
)
_common = {
    "SdkAppId": st.integers(1, 2**32 - 1),
    "UserId": _ascii(_WORD + ".@", 1, 32),
    "UserSig": _ascii(_VISIBLE, 1, 99),
}
_more = {
    "MixTranscodeParams": transcode_params,
    "MixLayoutParams": layouts,
    "ResourceExpiredHour": st.integers(6, 720),
    "PrivateMapKey": _ascii(_VISIBLE, 1, 99),
}
creates = _block(
    {
        **_common,
        "RoomId": st.integers(1, 2**32 - 1).map(str),
        "RecordParams": record_params,
        "StorageParams": storage_params,
    },
    {**_more, "RoomIdType": st.just(1)},
) | _block(
    {
        **_common,
        "RoomId": st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=25),
        "RoomIdType": st.just(0),
        "RecordParams": record_params,
        "StorageParams": storage_params,
    },
    _more,
)
"""All of these are to be let in."""

modifies = _block(
    {"SdkAppId": st.just(1400000001), "TaskId": st.uuids().map(str)},
    {"MixLayoutParams": layouts, "SubscribeStreamUserIds": subscriptions},
)

_any_text = st.text(st.characters(), max_size=40)
_scalars = st.none() | st.booleans() | st.integers() | st.floats() | _any_text
anything = st.recursive(
    _scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_any_text, inner, max_size=3), max_leaves=6
)


@st.composite
def spoilt(draw: st.DrawFn, bodies: st.SearchStrategy[Body] = creates) -> Body:
    """A good body with one to three members changed into anything, taken away or added."""
    body = copy.deepcopy(draw(bodies))
    for _ in range(draw(st.integers(1, 3))):
        holder: Any = body
        while True:
            keys = list(range(len(holder))) if isinstance(holder, list) else list(holder)
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(holder[key], dict | list) and holder[key] and draw(st.integers(0, 9)):
                holder = holder[key]
                continue
            value = holder[key]
            match draw(st.integers(0, 9)):
                case 0:
                    del holder[key]
                case 1 if isinstance(holder, dict):
                    holder[draw(_any_text)] = draw(anything)
                case 2:
                    holder[key] = draw(anything)
                case 3 if isinstance(value, str):
                    holder[key] = draw(_any_text)
                case _ if isinstance(value, str):
                    end = draw(_ascii(_VISIBLE, 0, 9) | _any_text)
                    holder[key] = value[: draw(st.integers(0, len(value)))] + end
                case _ if isinstance(value, int):
                    holder[key] = value + draw(st.integers(-2, 2) | st.sampled_from([100, -(10**12), 10**19]))
                case _:
                    holder[key] = draw(anything)
            break
    return body
