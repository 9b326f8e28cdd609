-- Merges the good lines of a batch by invoice: an invoice's new lines replace its earlier ones, and the same content
-- changes nothing.

-- 1. The lines that count and are not in quarantine. If a corrected line's broken one is already settled, it came
-- twice: it is dropped.
create temporary table skipped_line on commit drop as
select
    line_number,
    invoice_no,
    'broken' as why,
    null as left_out,
    null::boolean as takes_back
from raw.quarantined_line
where batch_id = %(batch_id)s
union all
select
    landed_line.line_number,
    landed_line.invoice_no,
    case when landed_line.left_out is null then 'corrected already' else 'left out' end as why,
    landed_line.left_out,
    landed_line.takes_back
from raw.landed_line
left join raw.quarantined_line as corrected on landed_line.corrects = corrected.quarantine_id
left join raw.quarantined_line as broken
    on
        landed_line.batch_id = broken.batch_id
        and landed_line.line_number = broken.line_number
where
    landed_line.batch_id = %(batch_id)s
    and broken.line_number is null
    and (
        landed_line.left_out is not null
        or (landed_line.corrects is not null and corrected.state is distinct from 'waiting')
    );

analyze skipped_line;

-- Views: to copy all lines once more would take longer than to read them again.
create or replace temporary view batch_line as
select
    line_number,
    file_number,
    sheet_number,
    invoice_no,
    stock_code,
    description,
    invoice_date,
    customer_id,
    country,
    corrects,
    trim_scale(quantity) as quantity,
    trim_scale(unit_price) as unit_price
from raw.landed_line
where batch_id = %(batch_id)s;

-- Mostly, no line is skipped. Then a join would take a third of the time of sorting the lines, and it would keep
-- Postgres from reading them in several processes.
do $$
begin
    if exists (select from skipped_line) then
        create or replace temporary view good_line as
        select batch_line.*
        from batch_line
        left join skipped_line on batch_line.line_number = skipped_line.line_number
        where skipped_line.line_number is null;
    else
        create or replace temporary view good_line as
        select *
        from batch_line;
    end if;
end
$$;

-- The invoices that were taken back as a whole: in the last of the batch's files that names them, every line says so.
-- Lines that are only left out are as if they were not in the file.
create temporary table taken_back_invoice on commit drop as
with taking_back as (
    select distinct invoice_no
    from skipped_line
    where takes_back
),

named as (
    select
        landed.invoice_no,
        landed.file_number,
        max(landed.file_number) over (partition by landed.invoice_no) as last_file,
        landed.takes_back is true as takes_back
    from raw.landed_line as landed
    inner join taking_back on landed.invoice_no = taking_back.invoice_no
    where
        landed.batch_id = %(batch_id)s
        and landed.corrects is null
        and (landed.left_out is null or landed.takes_back)
)

select invoice_no
from named
where file_number = last_file
group by invoice_no
having bool_and(takes_back);

analyze taken_back_invoice;

-- The invoices that come in parts, as a mapping says. Hardly any batch has such a file; then no line is read here.
create temporary table part_invoice on commit drop as
with part_file as (
    select file_number
    from raw.batch_file
    where
        batch_id = %(batch_id)s
        and adds_parts
)

select distinct landed_line.invoice_no
from raw.landed_line
inner join part_file on landed_line.file_number = part_file.file_number
where
    landed_line.batch_id = %(batch_id)s
    and landed_line.invoice_no is not null
    and landed_line.corrects is null
    and landed_line.left_out is null;

analyze part_invoice;

-- 2. An invoice may be spread over files and sheets. If files differ in the lines of one of its products, they are
-- versions of it, and the last file's lines count. Otherwise they are parts of it. Files and sheets may overlap: a line
-- that is in two of them counts once. Equal lines of one file or sheet all count.
create temporary table repeated_line on commit drop as
with spread as (
    select
        invoice_no,
        max(file_number) as last_file
    from good_line
    where
        -- most batches are one table, so that no line has to be read
        (
            select count(*) > 1 or max(cardinality(sheets)) > 1
            from raw.batch_file
            where batch_id = %(batch_id)s
        )
        and corrects is null
    group by invoice_no
    having
        min(file_number) <> max(file_number)
        or min(sheet_number) <> max(sheet_number)
),

product_in_file as (
    select
        good_line.invoice_no,
        good_line.stock_code,
        max(spread.last_file) as last_file,
        array_agg(
            distinct retail.line_content(
                good_line.stock_code,
                good_line.description,
                good_line.quantity,
                good_line.invoice_date,
                good_line.unit_price,
                good_line.customer_id,
                good_line.country
            )
        ) as contents
    from good_line
    inner join spread on good_line.invoice_no = spread.invoice_no
    where good_line.corrects is null
    group by
        good_line.invoice_no,
        good_line.stock_code,
        good_line.file_number
),

differing_product as (
    select
        invoice_no,
        max(last_file) as last_file
    from product_in_file
    group by
        invoice_no,
        stock_code
    having min(contents) <> max(contents)
),

version as (
    select distinct
        invoice_no,
        last_file
    from differing_product
    where invoice_no not in (select invoice_no from part_invoice)
),

numbered as (
    select
        good_line.line_number,
        good_line.invoice_no,
        good_line.stock_code,
        good_line.description,
        good_line.quantity,
        good_line.invoice_date,
        good_line.unit_price,
        good_line.customer_id,
        good_line.country,
        row_number() over (
            partition by
                good_line.file_number,
                good_line.sheet_number,
                good_line.invoice_no,
                good_line.stock_code,
                good_line.description,
                good_line.quantity,
                good_line.invoice_date,
                good_line.unit_price,
                good_line.customer_id,
                good_line.country
            order by good_line.line_number asc
        ) as occurrence
    from good_line
    inner join spread on good_line.invoice_no = spread.invoice_no
    left join version on good_line.invoice_no = version.invoice_no
    where
        good_line.corrects is null
        and (version.invoice_no is null or good_line.file_number = version.last_file)
),

counted as (
    select
        line_number,
        row_number() over (
            partition by
                invoice_no,
                stock_code,
                description,
                quantity,
                invoice_date,
                unit_price,
                customer_id,
                country,
                occurrence
            order by line_number asc
        ) as copy
    from numbered
)

select line_number
from counted
where copy > 1
union
select good_line.line_number
from good_line
inner join taken_back_invoice on good_line.invoice_no = taken_back_invoice.invoice_no
union
select good_line.line_number
from good_line
inner join version on good_line.invoice_no = version.invoice_no
where
    good_line.corrects is null
    and good_line.file_number < version.last_file;

-- A part may overlap with what is stored: as many equal lines as are stored already add nothing.
insert into repeated_line (line_number)
with stored_line as (
    select
        invoice_line.invoice_no,
        content.text as content,
        row_number() over (partition by invoice_line.invoice_no, content.text) as occurrence
    from retail.invoice_line
    inner join part_invoice on invoice_line.invoice_no = part_invoice.invoice_no
    cross join lateral retail.line_content(
        invoice_line.stock_code,
        invoice_line.description,
        invoice_line.quantity,
        invoice_line.invoice_date,
        invoice_line.unit_price,
        invoice_line.customer_id,
        invoice_line.country
    ) as content (text)
),

new_line as (
    select
        good_line.line_number,
        good_line.invoice_no,
        content.text as content,
        row_number() over (
            partition by good_line.invoice_no, content.text
            order by good_line.line_number asc
        ) as occurrence
    from good_line
    inner join part_invoice on good_line.invoice_no = part_invoice.invoice_no
    left join repeated_line on good_line.line_number = repeated_line.line_number
    cross join
        lateral retail.line_content(
            good_line.stock_code,
            good_line.description,
            good_line.quantity,
            good_line.invoice_date,
            good_line.unit_price,
            good_line.customer_id,
            good_line.country
        ) as content (text)
    where
        -- keeps the planner from reading all lines if no file brings parts
        (select count(any_part.invoice_no) from part_invoice as any_part) > 0
        and repeated_line.line_number is null
        and good_line.corrects is null
)

select new_line.line_number
from new_line
inner join stored_line
    on
        new_line.invoice_no = stored_line.invoice_no
        and new_line.content = stored_line.content
        and new_line.occurrence = stored_line.occurrence;

analyze repeated_line;

-- 3. The invoices' new lines, in an order that depends only on their content. Corrected lines and parts join the stored
-- lines of their invoice. If the batch also brings the invoice itself, corrected lines join that. If every line of the
-- newer load was broken, the first corrected ones replace what an earlier load stored.
create temporary table superseded_invoice on commit drop as
select distinct good_line.invoice_no
from good_line
inner join raw.quarantined_line as broken on good_line.corrects = broken.quarantine_id
where
    broken.replaces_invoice
    and good_line.invoice_no = broken.invoice_no;

create temporary table joined_invoice on commit drop as
select invoice_no
from part_invoice
where invoice_no not in (select invoice_no from taken_back_invoice)
union
select invoice_no
from good_line
where
    (select count(*) from raw.landed_line where batch_id = %(batch_id)s and corrects is not null) > 0
    and invoice_no not in (select invoice_no from taken_back_invoice)
    and invoice_no not in (select invoice_no from superseded_invoice)
group by invoice_no
having count(corrects) = count(*);

analyze joined_invoice;

-- Mostly, nothing is repeated and nothing joins what is stored.
do $$
begin
    if exists (select from repeated_line) then
        create or replace temporary view kept_line as
        select good_line.*
        from good_line
        left join repeated_line on good_line.line_number = repeated_line.line_number
        where repeated_line.line_number is null;
    else
        create or replace temporary view kept_line as
        select *
        from good_line;
    end if;
    if exists (select from joined_invoice) then
        create or replace temporary view line_of_invoice as
        select
            true as is_read,
            invoice_no,
            stock_code,
            description,
            quantity,
            invoice_date,
            unit_price,
            customer_id,
            country
        from kept_line
        union all
        select
            false as is_read,
            invoice_line.invoice_no,
            invoice_line.stock_code,
            invoice_line.description,
            invoice_line.quantity,
            invoice_line.invoice_date,
            invoice_line.unit_price,
            invoice_line.customer_id,
            invoice_line.country
        from retail.invoice_line
        inner join joined_invoice on invoice_line.invoice_no = joined_invoice.invoice_no;
    else
        create or replace temporary view line_of_invoice as
        select
            true as is_read,
            invoice_no,
            stock_code,
            description,
            quantity,
            invoice_date,
            unit_price,
            customer_id,
            country
        from kept_line;
    end if;
end
$$;

create temporary table staged_line on commit drop as
select
    is_read,
    invoice_no,
    row_number() over (
        partition by invoice_no
        order by
            stock_code collate "C" asc,
            invoice_date asc,
            quantity asc,
            unit_price asc,
            -- numbers come in the order of numbers, as when ids were numbers
            length(customer_id) asc,
            customer_id collate "C" asc,
            description collate "C" asc,
            country collate "C" asc
    )::integer as line_number,
    stock_code,
    description,
    quantity,
    invoice_date,
    unit_price,
    customer_id,
    country
from line_of_invoice;

analyze staged_line (invoice_no);

-- 4. Each invoice with the hash of its content, and whether it is new or changed.
create temporary table staged_invoice on commit drop as
with hashed as (
    select
        invoice_no,
        count(*)::integer as lines,
        count(*) filter (where is_read) as lines_read,
        retail.invoice_sha256(
            string_agg(
                retail.line_content(
                    stock_code, description, quantity, invoice_date, unit_price, customer_id, country
                ),
                e'\x1d'
                order by line_number
            )
        ) as sha256
    from staged_line
    group by invoice_no
)

select
    hashed.invoice_no,
    hashed.lines,
    hashed.lines_read,
    hashed.sha256,
    (invoice.sha256 is distinct from hashed.sha256) as is_changed
from hashed
left join retail.invoice on hashed.invoice_no = invoice.invoice_no;

analyze staged_invoice;

-- Of a first load, every invoice is new: a join of all its lines would not fit into memory.
do $$
begin
    if exists (select from staged_invoice where not is_changed) then
        create or replace temporary view changed_line as
        select staged_line.*
        from staged_line
        inner join staged_invoice on staged_line.invoice_no = staged_invoice.invoice_no
        where staged_invoice.is_changed;
    else
        create or replace temporary view changed_line as
        select *
        from staged_line;
    end if;
end
$$;

-- 5. The lines of changed invoices replace the earlier ones, and those of invoices that were taken back go.
create temporary table changed_invoice on commit drop as
select invoice_no
from staged_invoice
where is_changed
union all
select invoice_no
from taken_back_invoice;

-- Without, the planner would read all of a large shop's lines instead of looking a few invoices up.
analyze changed_invoice;

create temporary table replaced_line on commit drop as
with gone as (
    delete from retail.invoice_line
    using changed_invoice
    where invoice_line.invoice_no = changed_invoice.invoice_no
    returning
        invoice_line.invoice_no,
        invoice_line.stock_code,
        invoice_line.description,
        invoice_line.invoice_date
)

select
    invoice_no,
    retail.canonical_stock_code(stock_code) as stock_code,
    description,
    invoice_date
from gone;

-- An invoice that came in two parts, or a line that somebody forgot: what the new load has no line for.
create temporary table lost_line on commit drop as
with waiting_invoice as (
    select distinct invoice_no
    from raw.quarantined_line
    where
        batch_id = %(batch_id)s
        and corrects is null
        and state = 'waiting'
),

earlier as (
    select
        replaced_line.invoice_no,
        replaced_line.stock_code,
        waiting_invoice.invoice_no is not null as is_incomplete,
        count(*) as lines
    from replaced_line
    left join waiting_invoice on replaced_line.invoice_no = waiting_invoice.invoice_no
    left join taken_back_invoice on replaced_line.invoice_no = taken_back_invoice.invoice_no
    where taken_back_invoice.invoice_no is null
    group by
        replaced_line.invoice_no,
        replaced_line.stock_code,
        waiting_invoice.invoice_no
),

newer as (
    select
        staged_line.invoice_no,
        retail.canonical_stock_code(staged_line.stock_code) as stock_code,
        count(*) as lines
    from staged_line
    where
        -- a first load replaces nothing, so that no line has to be read
        (select count(*) from replaced_line) > 0
        and staged_line.invoice_no in (select invoice_no from replaced_line)
    group by
        staged_line.invoice_no,
        retail.canonical_stock_code(staged_line.stock_code)
)

select
    earlier.invoice_no,
    earlier.is_incomplete,
    sum(greatest(earlier.lines - coalesce(newer.lines, 0), 0)) as lines
from earlier
left join newer
    on
        earlier.invoice_no = newer.invoice_no
        and earlier.stock_code = newer.stock_code
group by
    earlier.invoice_no,
    earlier.is_incomplete;

insert into retail.invoice_line (
    invoice_no,
    line_number,
    stock_code,
    description,
    quantity,
    invoice_date,
    unit_price,
    customer_id,
    country,
    batch_id
)
select
    invoice_no,
    line_number,
    stock_code,
    description,
    quantity,
    invoice_date,
    unit_price,
    customer_id,
    country,
    %(batch_id)s as batch_id
from changed_line;

insert into retail.invoice (invoice_no, lines, sha256, batch_id)
select
    invoice_no,
    lines,
    sha256,
    %(batch_id)s as batch_id
from staged_invoice
where is_changed
on conflict (invoice_no) do update
    set
        lines = excluded.lines,
        sha256 = excluded.sha256,
        batch_id = excluded.batch_id;

delete from retail.invoice
using taken_back_invoice
where invoice.invoice_no = taken_back_invoice.invoice_no;

-- 6. The newest good description of each product. Notes such as "damaged" or "?" are on lines without a price. The new
-- lines are enough, unless the line of a description is gone and none of them is as new.
create temporary table undescribed_product on commit drop as
with undescribed as (
    delete from retail.product
    using replaced_line
    where
        product.stock_code = replaced_line.stock_code
        and product.description = replaced_line.description
        and product.described_at = replaced_line.invoice_date
    returning
        product.stock_code,
        product.description,
        product.described_at
)

select distinct
    stock_code,
    description,
    described_at
from undescribed;

create temporary table description_found on commit drop as
select
    retail.canonical_stock_code(stock_code) as stock_code,
    description,
    max(invoice_date) as described_at
from changed_line
where
    description is not null
    and quantity > 0
    and unit_price > 0
group by
    changed_line.stock_code,
    description;

delete from undescribed_product
using description_found
where
    undescribed_product.stock_code = description_found.stock_code
    and (
        undescribed_product.described_at < description_found.described_at
        or (
            undescribed_product.described_at = description_found.described_at
            and undescribed_product.description collate "C" >= description_found.description collate "C"
        )
    );

-- First among the lines of the 90 days before, which an index finds. All lines are searched for the rest.
insert into description_found (stock_code, description, described_at)
select
    retail.canonical_stock_code(stock_code) as stock_code,
    description,
    max(invoice_date) as described_at
from retail.invoice_line
where
    -- keeps the planner from reading lines if no description is missing
    (select count(*) from undescribed_product) > 0
    and invoice_date >= (select min(described_at) - interval '90 days' from undescribed_product)
    and invoice_date <= (select max(described_at) from undescribed_product)
    and retail.canonical_stock_code(stock_code) in (select gone.stock_code from undescribed_product as gone)
    and description is not null
    and quantity > 0
    and unit_price > 0
group by
    invoice_line.stock_code,
    description;

delete from undescribed_product
using description_found
where
    undescribed_product.stock_code = description_found.stock_code
    and description_found.described_at >= undescribed_product.described_at - interval '90 days';

insert into description_found (stock_code, description, described_at)
select
    retail.canonical_stock_code(stock_code) as stock_code,
    description,
    max(invoice_date) as described_at
from retail.invoice_line
where
    (select count(*) from undescribed_product) > 0
    and retail.canonical_stock_code(stock_code) in (select gone.stock_code from undescribed_product as gone)
    and description is not null
    and quantity > 0
    and unit_price > 0
group by
    invoice_line.stock_code,
    description;

insert into retail.product (stock_code, description, described_at)
select distinct on (stock_code)
    stock_code,
    description,
    described_at
from description_found
order by
    stock_code asc,
    described_at desc,
    description collate "C" asc
on conflict (stock_code) do update
    set
        description = excluded.description,
        described_at = excluded.described_at
    where
    product.described_at < excluded.described_at
    or (
        product.described_at = excluded.described_at
        and product.description collate "C" > excluded.description collate "C"
    );

-- 7. Settles lines in quarantine: those that this batch corrects, and those of an invoice whose new lines it brought.
update raw.quarantined_line
set
    state = 'released',
    resolved_at = now(),
    resolved_by = %(batch_id)s,
    corrected = correction.corrected
from (
    select distinct on (corrects)
        corrects,
        jsonb_build_object(
            'invoice_no', invoice_no,
            'stock_code', stock_code,
            'description', description,
            'quantity', quantity,
            'invoice_date', invoice_date,
            'unit_price', unit_price,
            'customer_id', customer_id,
            'country', country
        ) as corrected
    from good_line
    where corrects is not null
    order by
        corrects asc,
        line_number asc
) as correction
where
    quarantined_line.quarantine_id = correction.corrects
    and quarantined_line.state = 'waiting';

with brought_invoice as (
    select invoice_no
    from good_line
    where
        corrects is null
        and invoice_no not in (select invoice_no from part_invoice)
    union
    select invoice_no
    from taken_back_invoice
    union
    select invoice_no
    from raw.quarantined_line
    where
        batch_id = %(batch_id)s
        and corrects is null
        and invoice_no not in (select invoice_no from part_invoice)
),

brought_line as (
    select distinct original
    from raw.quarantined_line
    where
        batch_id = %(batch_id)s
        and invoice_no is null
        and corrects is null
),

-- Of an invoice in parts, only the same broken line is a newer one.
brought_part_line as (
    select distinct
        broken.invoice_no,
        broken.original
    from raw.quarantined_line as broken
    inner join part_invoice on broken.invoice_no = part_invoice.invoice_no
    where
        broken.batch_id = %(batch_id)s
        and broken.corrects is null
),

-- joins by keys: with a condition that has cases, every line would be compared with every other
newer as (
    select corrects as quarantine_id
    from raw.quarantined_line
    where batch_id = %(batch_id)s
    union
    select waiting.quarantine_id
    from raw.quarantined_line as waiting
    inner join brought_invoice on waiting.invoice_no = brought_invoice.invoice_no
    where waiting.state = 'waiting'
    union
    select waiting.quarantine_id
    from raw.quarantined_line as waiting
    inner join brought_line on waiting.original = brought_line.original
    where
        waiting.state = 'waiting'
        and waiting.invoice_no is null
    union
    select waiting.quarantine_id
    from raw.quarantined_line as waiting
    inner join brought_part_line
        on
            waiting.invoice_no = brought_part_line.invoice_no
            and waiting.original = brought_part_line.original
    where waiting.state = 'waiting'
)

update raw.quarantined_line
set
    state = 'discarded',
    resolved_at = now(),
    resolved_by = %(batch_id)s,
    note = 'a newer load of its invoice came with batch ' || %(batch_id)s
from newer
where
    quarantined_line.quarantine_id = newer.quarantine_id
    and quarantined_line.state = 'waiting'
    and quarantined_line.batch_id < %(batch_id)s;

-- A stored invoice of which this batch brought broken lines alone: its lines stay until the first of them is corrected.
update raw.quarantined_line
set replaces_invoice = true
from retail.invoice
where
    quarantined_line.batch_id = %(batch_id)s
    and quarantined_line.corrects is null
    and quarantined_line.state = 'waiting'
    and quarantined_line.invoice_no = invoice.invoice_no
    and quarantined_line.invoice_no not in (select invoice_no from good_line)
    and quarantined_line.file_number not in (
        select file_number
        from raw.batch_file
        where
            batch_id = %(batch_id)s
            and adds_parts
    );

-- A correction that is broken too stands for the line that it was to correct.
update raw.quarantined_line
set replaces_invoice = true
from raw.quarantined_line as corrected
where
    quarantined_line.batch_id = %(batch_id)s
    and quarantined_line.corrects = corrected.quarantine_id
    and corrected.replaces_invoice;

update raw.quarantined_line
set replaces_invoice = false
from superseded_invoice
where
    quarantined_line.invoice_no = superseded_invoice.invoice_no
    and quarantined_line.state = 'waiting'
    and quarantined_line.replaces_invoice;

-- 8. Counts where every line went; a constraint on the table checks the sum.
update raw.batch
set
    status = 'merged',
    lines_quarantined = quarantined.lines,
    lines_merged = staged.merged,
    lines_unchanged = staged.unchanged + repeated.lines + corrected_already.lines,
    lines_replaced = replaced.lines,
    invoices_replaced = replaced.number,
    replaced_invoices = array(
        select distinct invoice_no
        from replaced_line
        where invoice_no not in (select invoice_no from part_invoice)
        order by invoice_no asc
        limit %(named)s
    ),
    lines_lost = lost.lines,
    lost_invoices = array(
        select invoice_no
        from lost_line
        where
            lines > 0
            and not is_incomplete
        order by invoice_no asc
        limit %(named)s
    ),
    invoices_incomplete = lost.incomplete,
    incomplete_invoices = array(
        select invoice_no
        from lost_line
        where is_incomplete
        order by invoice_no asc
        limit %(named)s
    ),
    lines_left_out = left_out.lines,
    left_out = left_out.reasons,
    finished_at = now()
from
    (select count(*) as lines from raw.quarantined_line where batch_id = %(batch_id)s) as quarantined,
    (select count(*) as lines from repeated_line) as repeated,
    (
        select
            coalesce(sum(lines_read) filter (where is_changed), 0) as merged,
            coalesce(sum(lines_read) filter (where not is_changed), 0) as unchanged
        from staged_invoice
    ) as staged,
    (select count(*) as lines from skipped_line where why = 'corrected already') as corrected_already,
    (
        select
            count(*) as lines,
            count(distinct invoice_no) as number
        from replaced_line
        where invoice_no not in (select invoice_no from part_invoice)
    ) as replaced,
    (
        select
            coalesce(sum(lines) filter (where not is_incomplete), 0) as lines,
            count(*) filter (where is_incomplete) as incomplete
        from lost_line
    ) as lost,
    (
        select
            coalesce(sum(lines), 0) as lines,
            jsonb_object_agg(left_out, lines) as reasons
        from (
            select
                left_out,
                count(*) as lines
            from skipped_line
            where left_out is not null
            group by left_out
        ) as counted_reason
    ) as left_out
where batch.batch_id = %(batch_id)s
