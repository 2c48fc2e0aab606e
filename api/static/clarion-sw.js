/* Clarion's service worker: shows notifications and reports what becomes of them.
 *
 * The site serves a worker of its own with one line:
 *   importScripts('https://push.example.com/v1/sdk/clarion-sw.js')
 * clarion.js registers it and leaves here (IndexedDB, the site's own) where the API is and the
 * device token. Works without either: then it shows notifications and reports nothing. */
(() => {
  'use strict'
  const DATABASE = 'clarion'
  const SYNC = 'clarion-feedback'
  const MAX_REPORTS = 200 // kept while the API cannot be reached; of more, the oldest go
  const MAX_AGE_MS = 7 * 86_400_000 // the API takes no older ones
  const TIMEOUT_MS = 15_000
  // What showNotification() takes from the payload as it is; the rest is for the page.
  const OPTIONS = ['body', 'image', 'icon', 'badge', 'tag', 'renotify', 'requireInteraction',
    'silent', 'vibrate', 'lang', 'dir', 'timestamp']

  // --- what is kept -----------------------------------------------------------------------------

  const opened = () => new Promise((resolve, reject) => {
    const asked = indexedDB.open(DATABASE, 1)
    asked.onupgradeneeded = () => {
      asked.result.createObjectStore('state')
      asked.result.createObjectStore('reports', { autoIncrement: true })
    }
    asked.onsuccess = () => resolve(asked.result)
    asked.onerror = () => reject(asked.error)
  })

  // Do `work` with a store; give the result of the request it returns, once it is on disk.
  const inStore = async (name, mode, work) => {
    const database = await opened()
    try {
      return await new Promise((resolve, reject) => {
        const transaction = database.transaction(name, mode)
        const request = work(transaction.objectStore(name))
        transaction.oncomplete = () => resolve(request && request.result)
        transaction.onabort = transaction.onerror = () => reject(transaction.error)
      })
    } finally {
      database.close()
    }
  }
  const state = () => inStore('state', 'readonly', (store) => store.get('client'))
  const keep = (client) => inStore('state', 'readwrite', (store) => store.put(client, 'client'))

  // --- reports ----------------------------------------------------------------------------------

  const call = (client, method, path, body, token) => fetch(client.api + path, {
    method,
    headers: { Authorization: `Bearer ${token || client.deviceToken}`, 'Content-Type': 'application/json' },
    body: JSON.stringify(body),
    credentials: 'omit',
    signal: AbortSignal.timeout ? AbortSignal.timeout(TIMEOUT_MS) : undefined,
  })

  // Note what happened, then try to send it with all that was noted before.
  const report = async (message, kind, detail = '') => {
    if (!message || !message.message_id) return // nothing that the API would know
    const one = { ...message, kind, occurred_at: new Date().toISOString(), detail: detail.slice(0, 500) }
    await inStore('reports', 'readwrite', (store) => store.add(one))
    await send()
  }

  const waiting = async () => {
    const keys = await inStore('reports', 'readonly', (store) => store.getAllKeys())
    const reports = await inStore('reports', 'readonly', (store) => store.getAll())
    return keys.slice(0, reports.length).map((key, n) => ({ key, report: reports[n] }))
  }
  const forget = (keys) => inStore('reports', 'readwrite', (store) => {
    keys.forEach((key) => store.delete(key))
  })

  // One request at a time, so that nothing is sent twice; reports of a failure stay for later.
  let sending = Promise.resolve()
  const send = () => {
    sending = sending.then(sendNow, sendNow)
    return sending
  }
  const sendNow = async () => {
    const [client, all] = await Promise.all([state(), waiting()])
    const oldest = Date.now() - MAX_AGE_MS
    const stale = all.filter(({ report: one }, n) =>
      n < all.length - MAX_REPORTS || Date.parse(one.occurred_at) < oldest)
    const fresh = all.filter((one) => !stale.includes(one))
    if (stale.length) await forget(stale.map(({ key }) => key))
    if (!fresh.length || !client || !client.deviceToken) return
    let answer
    try {
      answer = await call(client, 'POST', '/v1/feedback', { items: fresh.map((one) => one.report) })
    } catch {
      return later()
    }
    // 401: the page gets a new token when it is next opened. 408, 429 and 5xx pass.
    if (answer.status === 401 || answer.status === 408 || answer.status === 429 || answer.status >= 500) {
      return later()
    }
    await forget(fresh.map(({ key }) => key)) // taken, or such as no repeat would make better
  }
  // The browser wakes this worker when it is online again, where it knows how (Background Sync);
  // elsewhere the next push, click or page does.
  const later = async () => {
    try {
      if (self.registration.sync) await self.registration.sync.register(SYNC)
    } catch { /* not allowed, such as in a private window */ }
  }

  // --- notifications ----------------------------------------------------------------------------

  const read = (data) => {
    if (!data) return {}
    try {
      const payload = data.json()
      return payload && typeof payload === 'object' ? payload : { body: String(payload) }
    } catch {
      return { body: data.text() }
    }
  }

  // Take the payload apart. Declarative Web Push ({web_push: 8030, notification: {navigate, …}})
  // is the same with other names. Source: W3C Push API, "Declarative push message".
  const understood = (payload) => {
    const given = payload.web_push === 8030 ? { ...payload, ...payload.notification } : payload
    const data = given.data && typeof given.data === 'object' ? given.data : {}
    const clarion = given.clarion || {}
    const message = {}
    for (const name of ['message_id', 'delivery_id', 'campaign_id']) {
      const value = clarion[name] || given[name] || data[name]
      if (value) message[name] = String(value)
    }
    const actions = (Array.isArray(given.actions) ? given.actions : []).filter((one) => one && one.action)
    const urls = {}
    for (const one of actions) urls[one.action] = one.url || one.navigate || ''
    const options = {}
    for (const name of OPTIONS) if (given[name] !== undefined) options[name] = given[name]
    options.actions = actions.map(({ action, title, icon }) => ({ action, title, icon }))
    options.data = { message, url: given.url || given.navigate || '', urls, data }
    return { title: given.title || '', options, message, given }
  }

  const pages = () => self.clients.matchAll({ type: 'window', includeUncontrolled: true })

  const onPush = async (event) => {
    const { title, options, message, given } = understood(read(event.data))
    for (const page of await pages()) page.postMessage({ clarion: 'push', payload: given })
    // A message of data alone shows nothing; browsers allow few of these.
    if (title || options.body) await self.registration.showNotification(title, options)
    await report(message, 'delivered')
  }

  // Open what the click asks for: the page if it is open already, else a new one.
  const open = async (url) => {
    let target
    try {
      target = new URL(url || '', self.registration.scope)
    } catch {
      target = new URL(self.registration.scope)
    }
    if (target.protocol !== 'https:' && target.protocol !== 'http:') return
    const same = (page) => page.url.split('#')[0] === target.href.split('#')[0]
    const open = (await pages()).find(same)
    try {
      await (open ? open.focus() : self.clients.openWindow(target.href))
    } catch { /* the browser wants a click of the user's first */ }
  }

  const onClick = async (event) => {
    const kept = event.notification.data || {}
    event.notification.close()
    const action = event.action
    const url = (action && kept.urls && kept.urls[action]) || kept.url
    await open(url)
    await report(kept.message, action ? 'clicked' : 'opened', action)
  }

  // The browser replaced the subscription: say so, or the device falls silent.
  const onChange = async (event) => {
    const client = await state()
    if (!client || !client.deviceToken) return
    const options = (event.oldSubscription && event.oldSubscription.options) ||
      { userVisibleOnly: true, applicationServerKey: client.vapidKey }
    const fresh = event.newSubscription || (await self.registration.pushManager.subscribe(options))
    const body = { ...fresh.toJSON(), app: client.app, device_id: client.deviceId }
    const path = `/v1/users/${encodeURIComponent(client.user)}/webpush`
    const answer = await call(client, 'POST', path, body)
    if (answer.ok) await keep({ ...client, deviceToken: (await answer.json()).device_token })
  }

  self.addEventListener('push', (event) => event.waitUntil(onPush(event)))
  self.addEventListener('notificationclick', (event) => event.waitUntil(onClick(event)))
  self.addEventListener('notificationclose', (event) => {
    event.waitUntil(report((event.notification.data || {}).message, 'dismissed'))
  })
  self.addEventListener('pushsubscriptionchange', (event) => event.waitUntil(onChange(event)))
  self.addEventListener('sync', (event) => {
    if (event.tag === SYNC) event.waitUntil(send())
  })
  self.addEventListener('message', (event) => {
    if (event.data && event.data.clarion === 'send') event.waitUntil(send())
  })
  self.addEventListener('activate', (event) => event.waitUntil(self.clients.claim()))
})()
