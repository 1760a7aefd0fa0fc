\echo Use "CREATE EXTENSION penny" to load this file. \quit

-- penny: the conversation backend inside PostgreSQL.  This file is put together
-- from sql/install (run once) and sql/api (re-runnable).
