-- name: put_campaign
INSERT INTO campaign (id, name, state, body) VALUES (?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET name = excluded.name, state = excluded.state, body = excluded.body

-- name: put_manifest
INSERT INTO manifest (campaign, bytes) VALUES (?, ?)
ON CONFLICT (campaign) DO UPDATE SET bytes = excluded.bytes

-- name: put_revision
INSERT INTO revision (campaign, n, doc) VALUES (?, ?, ?)
ON CONFLICT (campaign, n) DO UPDATE SET doc = excluded.doc

-- name: add_row
INSERT INTO row (id, campaign, run_id, unbounded, spec) VALUES (?, ?, ?, ?, ?)

-- name: put_row
UPDATE row SET unbounded = ?, spec = ? WHERE id = ?

-- name: add_run
INSERT INTO run (id, campaign, state, priority) VALUES (?, ?, 'pending', ?)

-- name: put_run
UPDATE run SET state = ?, priority = ?, cause = ?, attempts = ?, newest = ?, open = ?, useful = ?, lost = ?, body = ?
WHERE id = ?

-- name: put_setback
INSERT INTO setback (run, n, campaign, class, ended_by, again, resumed, lost) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (run, n) DO UPDATE SET class = excluded.class, ended_by = excluded.ended_by, again = excluded.again,
    resumed = excluded.resumed, lost = excluded.lost

-- name: put_vitals
INSERT INTO vitals (run, n, body) SELECT id, newest, ? FROM run WHERE id = ?
ON CONFLICT (run) DO UPDATE SET n = excluded.n, body = excluded.body

-- name: drop_vitals
DELETE FROM vitals WHERE run = ?

-- name: add_story
INSERT INTO story (run, wall, mono, boot, attempt, event, before, state, words, data)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- name: add_boot
INSERT INTO boot (id) VALUES (?) ON CONFLICT (id) DO NOTHING

-- name: put_answer
INSERT INTO request (id, wall, answer) VALUES (?, ?, ?)
ON CONFLICT (id) DO UPDATE SET wall = excluded.wall, answer = excluded.answer

-- name: prune_answers
DELETE FROM request WHERE wall < ?

-- name: put_notice
INSERT INTO notice (campaign, cause, n, wall, owed, body) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (campaign, cause, n) DO UPDATE SET owed = excluded.owed, body = excluded.body

-- name: prune_notices
DELETE FROM notice WHERE owed IS NULL AND wall < ?

-- name: put_meta
INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value
