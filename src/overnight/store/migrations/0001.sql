-- A run's key is campaign.seq * 2^32 + position, so that a campaign is one range of keys in file order.
-- Position 2^32 - 1 is no run: the story keeps there what concerns the campaign as a whole.

CREATE TABLE campaign (
    seq   INTEGER PRIMARY KEY,
    id    TEXT NOT NULL UNIQUE,
    name  TEXT NOT NULL,
    state TEXT NOT NULL,
    body  BLOB NOT NULL
);

-- What a row of the campaign file brought. Written once.
CREATE TABLE row (
    id        INTEGER PRIMARY KEY,
    campaign  INTEGER NOT NULL,
    run_id    TEXT NOT NULL,
    unbounded INTEGER,           -- 1: the row says @timeout none
    spec      BLOB NOT NULL
);
CREATE UNIQUE INDEX row_name ON row (campaign, run_id);
CREATE INDEX row_unbounded ON row (campaign) WHERE unbounded = 1;

-- What became of it. `body` is null until it first moves: then row and policy say all there is to say.
CREATE TABLE run (
    id       INTEGER PRIMARY KEY,
    campaign INTEGER NOT NULL,
    state    TEXT NOT NULL,
    priority INTEGER NOT NULL,
    cause    TEXT,                       -- class of a failed run, cause of a held one, 'lost' while its attempt is
    attempts INTEGER NOT NULL DEFAULT 0, -- that began
    newest   INTEGER NOT NULL DEFAULT 0, -- number of the newest attempt
    open     INTEGER,                    -- 1: neither pending nor ended, or effects are owed
    useful   REAL NOT NULL DEFAULT 0,    -- GPU-seconds, model.gpu_time
    lost     REAL NOT NULL DEFAULT 0,
    body     BLOB
);
-- Partial, so that a run is in the index of the queue or in that of the rest: the queue is read in planner's
-- order, and counts, classes and GPU time of 100,000 runs without touching a body.
CREATE INDEX run_pending ON run (campaign, priority DESC) WHERE state = 'pending';
CREATE INDEX run_moved ON run (campaign, state, cause, id, useful, lost) WHERE state <> 'pending';
CREATE INDEX run_open ON run (open) WHERE open = 1;

CREATE TABLE vitals (
    run  INTEGER PRIMARY KEY,
    n    INTEGER NOT NULL, -- the attempt they are of
    body BLOB NOT NULL
);

-- Attempts that ended badly: what the morning report counts by class.
CREATE TABLE setback (
    run      INTEGER NOT NULL,
    n        INTEGER NOT NULL,
    campaign INTEGER NOT NULL,
    class    TEXT NOT NULL,
    ended_by TEXT NOT NULL,
    again    INTEGER NOT NULL, -- 1: the run was or will be tried again by itself
    resumed  INTEGER NOT NULL, -- 1: the next attempt went on from a checkpoint
    lost     REAL NOT NULL,    -- GPU-seconds
    PRIMARY KEY (run, n)
) WITHOUT ROWID;
CREATE INDEX setback_by_class ON setback (campaign, class, ended_by, again, resumed, lost);

CREATE TABLE story (
    seq     INTEGER PRIMARY KEY,
    run     INTEGER NOT NULL,
    wall    REAL NOT NULL,
    mono    REAL NOT NULL,
    boot    INTEGER NOT NULL, -- of table boot
    attempt INTEGER,
    event   TEXT NOT NULL,
    before  TEXT NOT NULL,
    state   TEXT NOT NULL,
    words   TEXT NOT NULL,
    data    BLOB
);
CREATE INDEX story_of ON story (run);

CREATE TABLE boot (
    n  INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE
);

CREATE TABLE manifest (
    campaign INTEGER PRIMARY KEY,
    bytes    BLOB NOT NULL
);

CREATE TABLE revision (
    campaign INTEGER NOT NULL,
    n        INTEGER NOT NULL,
    doc      BLOB NOT NULL,
    PRIMARY KEY (campaign, n)
);

CREATE TABLE request (
    id     TEXT PRIMARY KEY,
    wall   REAL NOT NULL,
    answer BLOB NOT NULL
);

-- What a person is told. `owed` 1: somebody is still to be told.
CREATE TABLE notice (
    campaign TEXT NOT NULL, -- empty: the root
    cause    TEXT NOT NULL,
    n        INTEGER NOT NULL,
    wall     REAL NOT NULL,
    owed     INTEGER,
    body     BLOB NOT NULL,
    PRIMARY KEY (campaign, cause, n)
) WITHOUT ROWID;
CREATE INDEX notice_owed ON notice (wall) WHERE owed = 1;

CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;
