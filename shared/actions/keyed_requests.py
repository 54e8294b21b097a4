"""Answers a repeated request with the answer of the first one, for front ends whose clients repeat requests.

A client that gets no answer does not know whether its request was carried out. It sends the request again, under the
same key. The stores are in `ActionContext.requests`.
"""

from shared.persistence.api.requests import Answered as Answered
from shared.persistence.api.requests import Begun as Begun
from shared.persistence.api.requests import KeyedRequest as KeyedRequest
from shared.persistence.api.requests import OtherRequest as OtherRequest
from shared.persistence.api.requests import RequestStore as RequestStore
from shared.persistence.api.requests import UnderWay as UnderWay
