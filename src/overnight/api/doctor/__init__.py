"""`overnight doctor`: is this host, and this root on it, fit for a night? Every question is bounded."""

from overnight.api.doctor.rounds import examine as examine
from overnight.api.doctor.rounds import tell_test as tell_test
