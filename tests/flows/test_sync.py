from __future__ import annotations
from tests.flows.bench import Bench, take_snapshot
import time

async def test_try(bench: Bench):
    t=time.time()
    await bench.drain()
    print("first", time.time()-t)
    for r in await bench.runs(): print(r.operation,r.status,r.pages,r.records,r.created,r.changed,r.unchanged,r.findings_opened,r.evidence)
    a=await take_snapshot(bench)
    t=time.time()
    await bench.sync()
    print("second", time.time()-t)
    for r in (await bench.runs())[:11]: print(r.operation,r.status,r.pages,r.records,r.created,r.changed,r.unchanged,r.findings_opened,r.evidence)
    b=await take_snapshot(bench)
    print({k:(a[k]==b[k]) for k in a})
    print(bench.sandbox.control("story"))
    t=time.time()
    await bench.sync()
    print("story", time.time()-t)
    for r in (await bench.runs())[:11]: print(r.operation,r.status,r.pages,r.records,r.created,r.changed,r.unchanged,r.removed,r.findings_opened,r.findings_resolved, r.evidence)
    c=await take_snapshot(bench)
    for k in c["histories"]:
        if b["histories"].get(k)!=c["histories"][k]: print(k,b["histories"].get(k),c["histories"][k])
