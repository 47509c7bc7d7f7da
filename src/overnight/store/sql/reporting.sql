-- name: outcomes
SELECT campaign.id, row.run_id, row.id, row.spec, run.body, vitals.n, vitals.body
FROM campaign JOIN row ON row.campaign = campaign.seq JOIN run ON run.id = row.id
LEFT JOIN vitals ON vitals.run = row.id
WHERE campaign.id = ? AND row.id > campaign.seq << 32 - 1 AND row.id < (campaign.seq + 1) << 32 ORDER BY row.id
