-- The tables of an empty SQLite file, as the migrations make them.
-- Written by scripts/sqlite_tables.py: change the migrations, then run it.
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
CREATE TABLE accounts (
	id TEXT NOT NULL, 
	email TEXT NOT NULL, 
	name TEXT NOT NULL, 
	username TEXT, 
	avatar TEXT, 
	role TEXT NOT NULL, 
	provider TEXT NOT NULL, 
	epoch BIGINT DEFAULT '0' NOT NULL, 
	verified_at BIGINT, 
	terms_accepted_at BIGINT, 
	terms_version TEXT, 
	created_at BIGINT NOT NULL, 
	updated_at BIGINT NOT NULL, 
	expires_at BIGINT, 
	PRIMARY KEY (id), 
	CONSTRAINT accounts_email_key UNIQUE (email)
);
CREATE INDEX accounts_expires_at ON accounts (expires_at);
CREATE TABLE audit_events (
	id TEXT NOT NULL, 
	at BIGINT NOT NULL, 
	event TEXT NOT NULL, 
	account_id TEXT, 
	reason TEXT, 
	address TEXT NOT NULL, 
	user_agent TEXT NOT NULL, 
	request_id TEXT NOT NULL, 
	detail TEXT NOT NULL, device TEXT, seal BLOB, position BIGINT, link BLOB, 
	PRIMARY KEY (id)
);
CREATE INDEX audit_events_account_id_at ON audit_events (account_id, at);
CREATE INDEX audit_events_at ON audit_events (at);
CREATE TABLE bans (
	id TEXT NOT NULL, 
	kind TEXT NOT NULL, 
	subject TEXT NOT NULL, 
	reason TEXT NOT NULL, 
	created_at BIGINT NOT NULL, 
	expires_at BIGINT, 
	PRIMARY KEY (id), 
	CONSTRAINT bans_kind_subject_key UNIQUE (kind, subject)
);
CREATE TABLE markers (
	name TEXT NOT NULL, 
	value TEXT NOT NULL, 
	created_at BIGINT NOT NULL, 
	PRIMARY KEY (name)
);
CREATE TABLE outbox (
	id TEXT NOT NULL, 
	kind TEXT NOT NULL, 
	status TEXT NOT NULL, 
	sealed BLOB NOT NULL, 
	attempts BIGINT DEFAULT '0' NOT NULL, 
	last_error TEXT, 
	created_at BIGINT NOT NULL, 
	due_at BIGINT NOT NULL, 
	sent_at BIGINT, 
	PRIMARY KEY (id)
);
CREATE INDEX outbox_status_due_at ON outbox (status, due_at);
CREATE TABLE challenges (
	id TEXT NOT NULL, 
	account_id TEXT NOT NULL, 
	token_hash BLOB NOT NULL, 
	kind TEXT NOT NULL, 
	amr TEXT NOT NULL, 
	epoch BIGINT NOT NULL, 
	failures BIGINT DEFAULT '0' NOT NULL, 
	config TEXT NOT NULL, 
	created_at BIGINT NOT NULL, 
	expires_at BIGINT NOT NULL, 
	PRIMARY KEY (id), 
	FOREIGN KEY(account_id) REFERENCES accounts (id) ON DELETE CASCADE, 
	CONSTRAINT challenges_token_hash_key UNIQUE (token_hash)
);
CREATE INDEX challenges_account_id ON challenges (account_id);
CREATE INDEX challenges_expires_at ON challenges (expires_at);
CREATE TABLE ciphers (
	owner_id TEXT NOT NULL, 
	id TEXT NOT NULL, 
	type BIGINT NOT NULL, 
	protected_data TEXT NOT NULL, 
	collection_id TEXT, 
	favorite BIGINT NOT NULL, 
	re_prompt BIGINT NOT NULL, 
	created BIGINT NOT NULL, 
	last_modified BIGINT NOT NULL, 
	written_at BIGINT NOT NULL, 
	PRIMARY KEY (owner_id, id), 
	FOREIGN KEY(owner_id) REFERENCES accounts (id) ON DELETE CASCADE
);
CREATE INDEX ciphers_owner_id_written_at ON ciphers (owner_id, written_at);
CREATE TABLE collections (
	owner_id TEXT NOT NULL, 
	id TEXT NOT NULL, 
	name TEXT NOT NULL, 
	created BIGINT NOT NULL, 
	last_modified BIGINT NOT NULL, 
	PRIMARY KEY (owner_id, id), 
	FOREIGN KEY(owner_id) REFERENCES accounts (id) ON DELETE CASCADE
);
CREATE TABLE credentials (
	id TEXT NOT NULL, 
	account_id TEXT NOT NULL, 
	kind TEXT NOT NULL, 
	identifier TEXT, 
	config TEXT NOT NULL, 
	version BIGINT DEFAULT '1' NOT NULL, 
	created_at BIGINT NOT NULL, 
	last_used_at BIGINT, 
	PRIMARY KEY (id), 
	FOREIGN KEY(account_id) REFERENCES accounts (id) ON DELETE CASCADE, 
	CONSTRAINT credentials_kind_identifier_key UNIQUE (kind, identifier)
);
CREATE INDEX credentials_account_id ON credentials (account_id);
CREATE TABLE factors (
	id TEXT NOT NULL, 
	account_id TEXT NOT NULL, 
	kind TEXT NOT NULL, 
	identifier BLOB, 
	config BLOB, 
	version BIGINT DEFAULT '1' NOT NULL, 
	last_step BIGINT DEFAULT '0' NOT NULL, 
	failures BIGINT DEFAULT '0' NOT NULL, 
	created_at BIGINT NOT NULL, 
	confirmed_at BIGINT, 
	last_used_at BIGINT, 
	used_at BIGINT, 
	PRIMARY KEY (id), 
	FOREIGN KEY(account_id) REFERENCES accounts (id) ON DELETE CASCADE, 
	CONSTRAINT factors_account_id_kind_identifier_key UNIQUE (account_id, kind, identifier)
);
CREATE INDEX factors_account_id ON factors (account_id);
CREATE TABLE links (
	id TEXT NOT NULL, 
	account_id TEXT, 
	purpose TEXT NOT NULL, 
	token_hash BLOB NOT NULL, 
	email TEXT NOT NULL, 
	config TEXT NOT NULL, 
	created_at BIGINT NOT NULL, 
	expires_at BIGINT NOT NULL, 
	used_at BIGINT, 
	PRIMARY KEY (id), 
	FOREIGN KEY(account_id) REFERENCES accounts (id) ON DELETE CASCADE, 
	CONSTRAINT links_purpose_token_hash_key UNIQUE (purpose, token_hash)
);
CREATE INDEX links_account_id ON links (account_id);
CREATE INDEX links_expires_at ON links (expires_at);
CREATE INDEX links_purpose_email ON links (purpose, email);
CREATE TABLE provider_sessions (
	holder TEXT NOT NULL, 
	account_id TEXT NOT NULL, 
	provider TEXT NOT NULL, 
	issuer TEXT NOT NULL, 
	subject TEXT NOT NULL, 
	sid TEXT, 
	sealed BLOB NOT NULL, 
	expires_at BIGINT NOT NULL, 
	created_at BIGINT NOT NULL, renewed_at BIGINT DEFAULT '0' NOT NULL, due_at BIGINT, claimed_until BIGINT DEFAULT '0' NOT NULL, attempts BIGINT DEFAULT '0' NOT NULL, dead_at BIGINT, 
	PRIMARY KEY (holder), 
	FOREIGN KEY(account_id) REFERENCES accounts (id) ON DELETE CASCADE
);
CREATE INDEX provider_sessions_account_id ON provider_sessions (account_id);
CREATE INDEX provider_sessions_expires_at ON provider_sessions (expires_at);
CREATE INDEX provider_sessions_provider_subject ON provider_sessions (provider, subject);
CREATE TABLE sessions (
	id TEXT NOT NULL, 
	account_id TEXT NOT NULL, 
	kind TEXT NOT NULL, 
	token_hash BLOB, 
	amr TEXT NOT NULL, 
	epoch BIGINT NOT NULL, 
	generation BIGINT DEFAULT '0' NOT NULL, 
	rotations TEXT NOT NULL, 
	handshake_epoch BIGINT, 
	last_step BIGINT DEFAULT '0' NOT NULL, 
	address TEXT NOT NULL, 
	user_agent TEXT NOT NULL, 
	created_at BIGINT NOT NULL, 
	proved_at BIGINT NOT NULL, 
	last_used_at BIGINT NOT NULL, 
	expires_at BIGINT NOT NULL, 
	revoked_at BIGINT, 
	PRIMARY KEY (id), 
	FOREIGN KEY(account_id) REFERENCES accounts (id) ON DELETE CASCADE, 
	CONSTRAINT sessions_token_hash_key UNIQUE (token_hash)
);
CREATE INDEX provider_sessions_due_at ON provider_sessions (due_at);
CREATE TABLE key_ring (
	id TEXT NOT NULL, 
	purpose TEXT NOT NULL, 
	number BIGINT NOT NULL, 
	secret BLOB NOT NULL, 
	base TEXT NOT NULL, 
	created_at BIGINT NOT NULL, 
	active_from BIGINT NOT NULL, 
	overlap BIGINT NOT NULL, 
	finished_at BIGINT, 
	PRIMARY KEY (id), 
	CONSTRAINT key_ring_purpose_number_key UNIQUE (purpose, number)
);
CREATE TABLE pictures (
	account_id TEXT NOT NULL, 
	source TEXT NOT NULL, 
	name TEXT, 
	media_type TEXT, 
	content BLOB, 
	fetched_at BIGINT NOT NULL, 
	PRIMARY KEY (account_id), 
	FOREIGN KEY(account_id) REFERENCES accounts (id) ON DELETE CASCADE, 
	CONSTRAINT pictures_name_key UNIQUE (name)
);
CREATE UNIQUE INDEX audit_events_position ON audit_events (position) WHERE position IS NOT NULL;
CREATE INDEX audit_events_unlinked ON audit_events (at, id) WHERE position IS NULL;
CREATE TABLE places (
	account_id TEXT NOT NULL, 
	household BLOB NOT NULL, 
	client BLOB NOT NULL, 
	seen_at BIGINT NOT NULL, 
	PRIMARY KEY (account_id, household, client), 
	CONSTRAINT places_account_id_fkey FOREIGN KEY(account_id) REFERENCES accounts (id) ON DELETE CASCADE
);
CREATE INDEX places_seen_at ON places (seen_at);
CREATE INDEX sessions_of_account ON sessions (account_id, epoch, revoked_at, created_at);
INSERT INTO alembic_version VALUES ('0007');
