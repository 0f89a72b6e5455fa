PRAGMA journal_mode=OFF;
CREATE TABLE item(id INTEGER PRIMARY KEY, kind INTEGER, name TEXT, amount INTEGER);
WITH RECURSIVE n(i, x) AS (VALUES(1, 7) UNION ALL SELECT i + 1, (x * 1103515245 + 12345) % 2147483648 FROM n WHERE i < 25000)
INSERT INTO item SELECT i, (x >> 9) % 97, printf('%08x', x), (x >> 5) % 10007 FROM n;
CREATE INDEX item_kind ON item(kind, amount);
CREATE INDEX item_name ON item(name);
SELECT kind, count(*), sum(amount), min(name), max(name) FROM item GROUP BY kind ORDER BY 3 DESC, 1;
SELECT a.name, b.name FROM item a JOIN item b ON b.kind = a.kind AND b.amount = a.amount AND b.id > a.id ORDER BY a.id, b.id LIMIT 300;
UPDATE item SET amount = amount * 3 WHERE name LIKE '%a%f%';
DELETE FROM item WHERE id % 7 = 3;
SELECT count(*), sum(amount), group_concat(DISTINCT kind % 11) FROM item;
SELECT name FROM item WHERE name GLOB '*[0-4]ff*' ORDER BY name LIMIT 50;
PRAGMA integrity_check;
