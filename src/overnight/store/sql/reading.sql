-- name: campaigns
SELECT body FROM campaign ORDER BY seq

-- name: campaign
SELECT body FROM campaign WHERE id = ?

-- name: campaign_ids
SELECT id FROM campaign ORDER BY seq

-- name: campaign_seq
SELECT seq FROM campaign WHERE id = ?

-- name: boot_number
SELECT n FROM boot WHERE id = ?

-- name: run_key
SELECT id FROM row WHERE campaign = ? AND run_id = ?

-- name: run_by_key
SELECT campaign.id, row.run_id, row.id, row.spec, run.body, vitals.n, vitals.body
FROM row JOIN run ON run.id = row.id JOIN campaign ON campaign.seq = row.campaign
LEFT JOIN vitals ON vitals.run = row.id
WHERE row.id = ?

-- name: open_runs
SELECT campaign.id, row.run_id, row.id, row.spec, run.body, vitals.n, vitals.body
FROM run INDEXED BY run_open JOIN row ON row.id = run.id JOIN campaign ON campaign.seq = run.campaign
LEFT JOIN vitals ON vitals.run = run.id
WHERE run.open = 1 ORDER BY run.id

-- name: page
SELECT campaign.id, row.run_id, row.id, row.spec, run.body, vitals.n, vitals.body
FROM run JOIN row ON row.id = run.id JOIN campaign ON campaign.seq = run.campaign
LEFT JOIN vitals ON vitals.run = run.id
WHERE run.id > ? AND run.id < ? ORDER BY run.id LIMIT ?

-- name: page_pending
SELECT id FROM run INDEXED BY run_pending WHERE campaign = ? AND state = 'pending' AND id > ? ORDER BY id LIMIT ?

-- name: page_moved
SELECT id FROM run INDEXED BY run_moved
WHERE campaign = ? AND state <> 'pending' AND state = ? AND id > ? ORDER BY id LIMIT ?

-- name: pending
SELECT id, priority FROM run INDEXED BY run_pending
WHERE campaign = ? AND state = 'pending' ORDER BY priority DESC, id

-- name: pending_count
SELECT count(*) FROM run INDEXED BY run_pending WHERE campaign = ? AND state = 'pending'

-- name: queue_place
SELECT count(*) FROM run INDEXED BY run_pending
WHERE campaign = ?1 AND state = 'pending' AND (priority > ?2 OR (priority = ?2 AND id < ?3))

-- name: moved
SELECT state, cause, count(*), sum(useful), sum(lost) FROM run INDEXED BY run_moved
WHERE campaign = ? AND state <> 'pending' GROUP BY state, cause

-- name: names_of_cause
SELECT row.run_id, row.id FROM run INDEXED BY run_moved JOIN row ON row.id = run.id
WHERE run.campaign = ? AND run.state <> 'pending' AND run.state = ? AND run.cause IS ?
ORDER BY run.id LIMIT ?

-- name: setbacks
SELECT class, ended_by, count(*), sum(again), sum(resumed), sum(lost) FROM setback INDEXED BY setback_by_class
WHERE campaign = ? GROUP BY class, ended_by

-- name: unbounded_count
SELECT count(*) FROM row INDEXED BY row_unbounded WHERE campaign = ? AND unbounded = 1

-- name: keys_all
SELECT id FROM row WHERE campaign = ?

-- name: keys_named
SELECT row.id FROM json_each(?2) AS wanted JOIN row ON row.campaign = ?1 AND row.run_id = wanted.value

-- name: keys_pending
SELECT id FROM run INDEXED BY run_pending WHERE campaign = ? AND state = 'pending'

-- name: keys_state
SELECT id FROM run INDEXED BY run_moved WHERE campaign = ? AND state <> 'pending' AND state = ?

-- name: keys_cause
SELECT id FROM run INDEXED BY run_moved WHERE campaign = ? AND state <> 'pending' AND state = ? AND cause = ?

-- name: spec
SELECT spec FROM row WHERE campaign = ? AND run_id = ?

-- name: manifest
SELECT bytes FROM manifest WHERE campaign = ?

-- name: revisions
SELECT doc FROM revision WHERE campaign = ? ORDER BY n

-- name: answer
SELECT answer FROM request WHERE id = ?

-- name: owed_notices
SELECT body FROM notice INDEXED BY notice_owed WHERE owed = 1 ORDER BY wall

-- name: newest_notice
SELECT body FROM notice WHERE campaign = ? AND cause = ? ORDER BY n DESC LIMIT 1

-- name: meta
SELECT value FROM meta WHERE key = ?

-- name: story_of_run
SELECT row.run_id, story.wall, story.mono, boot.id, story.attempt, story.event, story.before, story.state,
    story.words, story.data
FROM story JOIN boot ON boot.n = story.boot LEFT JOIN row ON row.id = story.run
WHERE story.run = ? ORDER BY story.seq

-- Looked for from the newest entry of all campaigns backwards, so that no second index must be kept for it; the
-- unary plus keeps sqlite from sorting all entries of a campaign instead.
-- name: story_recent
SELECT row.run_id, story.wall, story.mono, boot.id, story.attempt, story.event, story.before, story.state,
    story.words, story.data
FROM story JOIN boot ON boot.n = story.boot LEFT JOIN row ON row.id = story.run
WHERE story.seq > (SELECT coalesce(max(seq), 0) FROM story) - 20000 AND +story.run BETWEEN ? AND ?
ORDER BY story.seq DESC LIMIT ?
