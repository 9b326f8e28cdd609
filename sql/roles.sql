-- What each kind of work may do, for installations in which not everything runs as the owner of the schema.
-- `ncf-pipeline migrate --roles` applies this file in one transaction; so does `psql --single-transaction -f`.
--
-- Nobody logs in as one of these roles: each login becomes a member of the roles that its worker needs, as in
--     create role gpu_worker login password '...' in role ncf_training;
-- Only the owner runs migrations and `forget`. Applying this file again changes nothing, but after an upgrade it grants
-- what is new. A role has exactly the privileges that are listed here.

do $$
declare
    name text;
begin
    foreach name in array array[
        'ncf_ingest', 'ncf_training', 'ncf_publishing', 'ncf_correcting', 'ncf_merchandising', 'ncf_experimenting',
        'ncf_hiding', 'ncf_reading'
    ] loop
        if not exists (select from pg_roles where rolname = name) then
            execute format('create role %I nologin', name);
        end if;
        -- Stages work in temporary tables.
        execute format('grant connect, temporary on database %I to %I', current_database(), name);
    end loop;
end
$$;

revoke all on all tables in schema raw, retail, ml, ops
from ncf_ingest, ncf_training, ncf_publishing, ncf_correcting, ncf_merchandising, ncf_experimenting, ncf_hiding,
ncf_reading;
revoke all on all sequences in schema raw, retail, ml, ops
from ncf_ingest, ncf_training, ncf_publishing, ncf_correcting, ncf_merchandising, ncf_experimenting, ncf_hiding,
ncf_reading;
revoke all on all functions in schema raw, retail, ml, ops
from ncf_ingest, ncf_training, ncf_publishing, ncf_correcting, ncf_merchandising, ncf_experimenting, ncf_hiding,
ncf_reading;
grant usage on schema raw, retail, ml, ops
to ncf_ingest, ncf_training, ncf_publishing, ncf_correcting, ncf_merchandising, ncf_experimenting, ncf_hiding,
ncf_reading;

-- Reading: reports, `models`, `quarantine list`, `recommend`. It sees customers' purchases.
grant select on all tables in schema raw, retail, ml, ops to ncf_reading;

-- Ingest: discover → land → validate → quarantine → merge, and correcting or discarding quarantined lines.
grant select, insert, update, delete on raw.batch to ncf_ingest;
grant select, insert, update on raw.batch_file, raw.quarantined_line, raw.quarantine_request to ncf_ingest;
grant select, insert, update, delete, truncate on raw.landed_line to ncf_ingest;
grant select on raw.line_to_check to ncf_ingest;
grant select, insert, update, delete on retail.invoice, retail.invoice_line, retail.product to ncf_ingest;
grant select on retail.known_product, retail.described_product to ncf_ingest;
grant execute on function
retail.summarise_new_lines, retail.set_lookups_aside, retail.bring_lookups_back
to ncf_ingest;
-- After an ingest, it says which of these match no product.
grant select on retail.excluded_stock_code, retail.unlisted_product, retail.product_country to ncf_ingest;
-- The shop's catalogue, which may be loaded by the same worker.
grant select, insert, update, delete on retail.catalogue to ncf_ingest;
grant select, insert, update on retail.catalogue_load to ncf_ingest;
grant select, insert, delete on retail.refused_catalogue_row to ncf_ingest;
-- It reads files by mappings, and people save and remove those with `ncf-pipeline mapping`.
grant select, insert, update on raw.mapping to ncf_ingest;
grant select, insert on raw.used_mapping to ncf_ingest;
-- It also takes events out of Redis, or loads them from files.
grant select, insert, delete on retail.shop_event to ncf_ingest;
grant select, insert, delete, update (events) on raw.quarantined_event to ncf_ingest;

-- Training: snapshot → backtest → gate → refit. It may read the shop's sales. It opens versions, and records their
-- scores, gate, artifact and manifests, until they serve. It changes neither what serves nor what has served.
grant select on raw.batch to ncf_training;
grant select on retail.invoice, retail.invoice_line, retail.product, retail.excluded_stock_code to ncf_training;
grant select on retail.purchase_or_return to ncf_training;
-- Snapshots also hold what customers looked at; the session is nobody's business.
grant select (customer_id, stock_code, kind, happened_at) on retail.shop_event to ncf_training, ncf_publishing;
grant select, insert, update (used_at, pruned_at, report) on ml.snapshot to ncf_training;
grant usage on sequence ml.snapshot_snapshot_id_seq to ncf_training;
grant select on ml.model_version, ml.model_event, ml.gate_decision, ml.model_manifest to ncf_training;
grant select, insert, delete on ml.evaluation to ncf_training;
grant execute on function
ml.open_version, ml.is_unproven, ml.record_gate_decision, ml.object_to_version, ml.record_artifact, ml.expect_manifest,
ml.forget_manifest
to ncf_training;
grant select on ml.publication, ml.live_period, ml.experiment to ncf_training;
grant select, insert, delete on ml.live_performance to ncf_training;
grant select, insert, update on ml.drift_report to ncf_training;

-- Publishing: register, publish, refresh, rollback, bundles, experiments. It chooses what serves: version 0, or a
-- version that the gate let through. It may hold a candidate. It opens version 0 and no other, and changes no model.
grant select on raw.batch to ncf_publishing;
grant select on retail.invoice, retail.invoice_line, retail.product, retail.excluded_stock_code to ncf_publishing;
grant select on retail.purchase_or_return to ncf_publishing;
grant select on retail.unlisted_product, retail.product_country, retail.pinned_product, retail.list_limit
to ncf_publishing;
grant select on retail.product_category, retail.catalogue to ncf_training, ncf_publishing;
grant select on retail.described_product to ncf_training;
grant select on retail.known_product, retail.described_product to ncf_publishing;
-- The watch tells readers what is sold out if Redis was away when a catalogue was loaded.
grant select, update (stock_waits) on retail.catalogue_load to ncf_publishing;
-- `hide` and `unhide`, and what every publication and watch copies to Redis
grant
select,
insert (stock_code, country, until, why, hidden_by),
update (shown_at, shown_by)
on retail.hidden_product to ncf_publishing;
grant select, insert, delete on retail.bundle to ncf_publishing;
-- what sold before the newest lists, for the pages
grant select, insert, delete on retail.week_sold, retail.day_sold to ncf_publishing;
grant select, insert, update (used_at, pruned_at, report) on ml.snapshot to ncf_publishing;
grant usage on sequence ml.snapshot_snapshot_id_seq to ncf_publishing;
grant select, update (pruned_at) on ml.model_version to ncf_publishing;
grant select on ml.model_event, ml.evaluation, ml.gate_decision, ml.model_manifest to ncf_publishing;
grant execute on function
ml.open_version_0, ml.renew_version_0, ml.lock_registry, ml.may_serve, ml.make_champion, ml.object_to_version,
ml.begin_live_period
to ncf_publishing;
grant
select,
insert (number, version, as_of, url, customers, products, experiment, state, published_at),
update (state, reason, report, published_at, certainty, pruned_at, refreshed)
on ml.publication to ncf_publishing;
grant select on ml.live_period to ncf_publishing;
grant
select,
insert (version, snapshot_id, as_of, top_n, shards, basis, after, erased_sha256, url, since, refreshed),
update (state, publication, basis, ended_at)
on ml.draft to ncf_publishing;
grant
select,
insert (
    name, hypothesis, kind, challenger, share, salt, minimum_effect, power, metric, decides, harm_bound, ends_on_harm,
    starts_at, ends_at, also, list_order, started_by
),
update (state, ended_by, ended_why, ended_at, stopped_at)
on ml.experiment to ncf_publishing;
grant
select,
insert (experiment, until, figures, sentence),
update (figures, sentence, looked_at)
on ml.experiment_report to ncf_publishing;
grant select, insert on ml.exposure_check to ncf_publishing;
grant usage, update on sequence ml.publication_number to ncf_publishing;
grant select, insert, update, delete, truncate on ml.checked_list, ml.checked_product to ncf_publishing;

-- Merchandising: the page Rules, and `rules`. It writes the rules of lists and nothing else; who changed them, the
-- database records. Of sales it sees which products are sold where, and neither customers nor invoices.
grant select, insert, update, delete on retail.unlisted_product, retail.product_country, retail.pinned_product
to ncf_merchandising;
grant select, update (max_per_family, min_price) on retail.list_limit to ncf_merchandising;
grant select on retail.rule_change, retail.changed_rule, retail.product, retail.excluded_stock_code
to ncf_merchandising;
grant select on retail.known_product, retail.described_product to ncf_merchandising;
grant select (stock_code, description, quantity, invoice_date, unit_price, country)
on retail.invoice_line to ncf_merchandising;
grant execute on function retail.undo_rule_change to ncf_merchandising;
-- It asks to see what a change would do. Publishing computes that, and decides nothing.
grant
select,
insert (change, asked_by, reason, seen),
update (state, error, ended_at, saved_as),
delete
on retail.rule_preview to ncf_merchandising;
grant select, update (state, result, error, ended_at) on retail.rule_preview to ncf_publishing;

-- Experimenting: the page Experiments. It starts and ends experiments, and sees neither customers nor purchases.
grant
select,
insert (
    name, hypothesis, kind, challenger, share, salt, minimum_effect, power, metric, decides, harm_bound, ends_on_harm,
    starts_at, ends_at, also, list_order, started_by
),
update (state, ended_by, ended_why, ended_at, stopped_at)
on ml.experiment to ncf_experimenting;
grant select on ml.model_version to ncf_experimenting;
grant select (invoice_date) on retail.invoice_line to ncf_experimenting;
grant select (as_of, state) on ml.publication to ncf_experimenting;

-- Hiding: the API of the lists. It hides products and shows them again, and sees neither customers nor purchases.
grant
select,
insert (stock_code, country, until, why, hidden_by),
update (shown_at, shown_by)
on retail.hidden_product to ncf_hiding;
grant select on retail.known_product to ncf_hiding;
grant select (country) on retail.invoice_line to ncf_hiding;

-- Correcting: the page Quarantine. It asks for releases, which ingest carries out, and discards lines.
grant select on raw.batch, raw.batch_file, raw.used_mapping, raw.quarantined_line, retail.invoice to ncf_correcting;
grant update (state, resolved_at, note) on raw.quarantined_line to ncf_correcting;
grant select, insert, update on raw.quarantine_request to ncf_correcting;
-- It closes the incident of a batch when none of its lines waits any more.
grant select, insert, update on ops.incident, ops.incident_run to ncf_correcting;

-- What changed is told by whoever publishes, hides or watches. The database writes it.
grant select, update (streamed_at, post, posts_failed, next_post_at), delete on ops.announcement
to ncf_publishing, ncf_hiding;

-- Alerts: any kind of work may raise one.
grant select, insert, update on ops.incident, ops.incident_run to ncf_ingest, ncf_training, ncf_publishing;
grant select, insert, update on ops.watch to ncf_publishing;
-- The watcher closes the incident of a batch when none of its lines waits any more. It reads no line.
grant select (batch_id, state) on raw.quarantined_line to ncf_publishing;

-- Work that writes customers checks who was erased. Only the owner records an erasure.
grant select on retail.erasure to ncf_ingest, ncf_training, ncf_publishing;

-- Before Postgres 17, only the owner may analyze a table. Other roles get a warning, and some worse plans.
do $$
begin
    if current_setting('server_version_num')::integer >= 170000 then
        grant maintain on raw.landed_line, raw.quarantined_line to ncf_ingest;
        grant maintain on ml.checked_list, ml.checked_product to ncf_publishing;
    end if;
end
$$;
