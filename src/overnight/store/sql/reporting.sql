-- The columns of `page` in reading.sql, so that the same code reads them.
-- name: outcomes
SELECT campaign.id, row.run_id, row.id, row.spec, run.body, vitals.n, vitals.body
FROM campaign JOIN row ON row.id BETWEEN campaign.seq << 32 AND (campaign.seq << 32) + 4294967294
JOIN run ON run.id = row.id LEFT JOIN vitals ON vitals.run = row.id
WHERE campaign.id = ?1 AND (?2 IS NULL OR run.state = ?2) ORDER BY row.id

-- In the order of setback's own key: nothing is sorted, so the first row comes at once.
-- name: setbacks_of_all
SELECT campaign.id, row.run_id, setback.n, setback.class, setback.ended_by, setback.lost, run.body
FROM setback JOIN campaign ON campaign.seq = setback.campaign JOIN row ON row.id = setback.run
JOIN run ON run.id = setback.run
ORDER BY setback.run, setback.n
