"""Store to reports, without a supervisor. Light: no terminal library, nothing that a `status` does not need."""

from overnight.model.reports import NoSuchThing as NoSuchThing
from overnight.queries.holder import supervisor_report as supervisor_report
from overnight.queries.status import campaigns as campaigns
from overnight.queries.status import status as status
from overnight.queries.why import why as why
from overnight.queries.why import why_campaign as why_campaign
